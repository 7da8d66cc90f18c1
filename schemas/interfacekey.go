package schemas

import "strings"

// InterfaceKey returns the key "<host>/<ifname>" of counts, rates and status.
func InterfaceKey(host, ifname string) string { return host + "/" + ifname }

// ParseInterfaceKey splits a key made by InterfaceKey. The error is a
// *RecordError with FaultKey.
func ParseInterfaceKey(key string) (host, ifname string, err error) {
	host, ifname, ok := strings.Cut(key, "/")
	if !ok {
		return "", "", Refuse(FaultKey, "key %q: want <host>/<ifname>", key)
	}
	if err := CheckName(host); err != nil {
		return "", "", Refuse(FaultKey, "key %q: host %v", key, err)
	}
	if err := CheckName(ifname); err != nil {
		return "", "", Refuse(FaultKey, "key %q: interface %v", key, err)
	}
	return host, ifname, nil
}
