package xdp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf/link"
)

// linkPrefix starts the names of pinned links; the number of the slot follows.
const linkPrefix = "link-"

// RemovePins takes down the data plane that is pinned in the directory path,
// whatever its sizes and its version, where Open and so Datapath.Remove want
// those of today. Nobody else may have it open. Without the directory there is
// nothing to do; what is in it and not Weir's stays, and is an error.
func RemovePins(path string) error {
	files, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the pin directory: %w", err)
	}
	var links, maps, foreign []string
	for _, f := range files {
		switch name := f.Name(); {
		case strings.HasPrefix(name, linkPrefix):
			links = append(links, name)
		case slices.Contains(mapNames, name):
			maps = append(maps, name)
		default:
			foreign = append(foreign, name)
		}
	}
	var errs []error
	for _, name := range links {
		errs = append(errs, removeLink(filepath.Join(path, name)))
	}
	for _, name := range maps {
		errs = append(errs, os.Remove(filepath.Join(path, name)))
	}
	if len(foreign) > 0 {
		errs = append(errs, fmt.Errorf("%s also holds what this version does not know: %s", path, strings.Join(foreign, ", ")))
	} else {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// removeLink ends a link by closing it: deleting its pin alone would have the
// kernel do that some time later.
func removeLink(path string) error {
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return fmt.Errorf("opening the pinned link %s: %w", path, err)
	}
	return errors.Join(l.Unpin(), l.Close())
}
