package xdp

// FormerBootID is the boot id of the process that ended the last window in the
// maps; right after Open that is the one whose maps were adopted, or "".
func (d *Datapath) FormerBootID() string {
	return string(trimZero(d.control.PendingBootId[:]))
}
