package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// archive writes a cpio archive in the "newc" format of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst. The first error
// stays, and end returns it.
type archive struct {
	out  io.Writer
	next uint32 // inode number
	err  error
}

const (
	modeDirectory = 0o040755
	modeFile      = 0o100755
	modeCharacter = 0o020600
)

func (a *archive) directory(name string) { a.entry(name, modeDirectory, 0, 0, nil) }

// console is the device 5:1.
func (a *archive) console(name string) { a.entry(name, modeCharacter, 5, 1, nil) }

func (a *archive) file(from, name string) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("reading for the image: %w", err)
	}
	a.entry(name, modeFile, 0, 0, data)
}

func (a *archive) end() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("writing the image: %w", a.err)
	}
	return nil
}

// entry writes a header, the name and the data, the latter two padded to four bytes.
func (a *archive) entry(name string, mode, major, minor uint32, data []byte) {
	if a.err != nil {
		return
	}
	a.next++
	header := "070701" // magic; then fields of eight hexadecimal digits
	for _, field := range []uint32{
		a.next, mode, 0, 0, 1, 0, // inode, mode, uid, gid, links, mtime
		uint32(len(data)), 0, 0, major, minor, uint32(len(name)) + 1, 0, // size, device, its number, name, check
	} {
		header += fmt.Sprintf("%08X", field)
	}
	header += name + "\x00"
	header += strings.Repeat("\x00", -len(header)&3)
	data = append(data, make([]byte, -len(data)&3)...)
	if _, a.err = io.WriteString(a.out, header); a.err == nil {
		_, a.err = a.out.Write(data)
	}
}
