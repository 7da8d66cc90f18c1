package cli

import (
	"strings"

	"github.com/weir-net/weir/schemas/commands"
)

// whoami returns the issuer: --issuer, WEIR_ISSUER, or user@host with whatever
// an issuer cannot contain replaced by '-'.
func (a *app) whoami() (string, error) {
	for _, explicit := range []string{a.issuer, a.Getenv("WEIR_ISSUER")} {
		if explicit != "" {
			if err := commands.CheckIssuer(explicit); err != nil {
				return "", usage(err)
			}
			return explicit, nil
		}
	}
	user := a.Getenv("USER")
	if user == "" {
		user = "unknown"
	}
	host, err := a.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	issuer := strings.Map(func(r rune) rune {
		if r < 0x80 && commands.CheckIssuer(string(r)) == nil {
			return r
		}
		return '-'
	}, user+"@"+host)
	return issuer[:min(len(issuer), 64)], nil
}
