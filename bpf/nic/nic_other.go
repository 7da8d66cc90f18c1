//go:build !linux

package nic

// Read returns the interface of this index.
func Read(int) (Interface, error) { return Interface{}, ErrUnsupported }

// List returns all interfaces.
func List() ([]Interface, error) { return nil, ErrUnsupported }
