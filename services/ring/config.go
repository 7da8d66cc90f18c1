package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/services/ring/internal/access"
)

// prefix is that of the service's environment variables.
const prefix = "WEIR_RING"

// Config is what the service is told by its environment.
type Config struct {
	HTTPAddress string        `envconfig:"HTTP_ADDRESS" default:"127.0.0.1:9473" desc:"where the page, /healthz, /readyz and /metrics are served; beyond loopback only with a login"`
	TLSCertFile string        `envconfig:"TLS_CERT_FILE" desc:"PEM file of the page's certificate; plain HTTP if empty"`
	TLSKeyFile  string        `envconfig:"TLS_KEY_FILE" desc:"PEM file of its key"`
	Act         bool          `default:"false" desc:"let people who are logged in block, limit, allow and release"`
	Token       string        `desc:"what people log in with, at least 16 characters; no such login if empty"`
	TokenFile   string        `split_words:"true" desc:"file that holds the token, instead of WEIR_RING_TOKEN"`
	Header      string        `desc:"header in which a proxy names who is logged in (OIDC), such as X-Auth-Request-Email"`
	Proxies     []string      `desc:"addresses or prefixes of the proxies whose header is believed, separated by commas"`
	Hosts       []string      `desc:"host names by which the page may be asked for, besides localhost, separated by commas; with WEIR_RING_HEADER, the name that the proxy passes on"`
	Issuer      string        `default:"ring" desc:"issuer of commands by people who came with the token; with a header it is their name"`
	LoginTTL    time.Duration `envconfig:"LOGIN_TTL" default:"12h" desc:"how long a login lasts"`
	Scale       []float64     `default:"700,1400,2100" desc:"upper bounds of the three colours below red, in packets per second"`
	Interfaces  int           `default:"4096" desc:"interfaces shown at most; each takes some 130 kB"`
	Browsers    int           `default:"64" desc:"browsers watching at once, at most"`

	rules access.Rules
}

// Validate implements kit's config.Validator.
func (c *Config) Validate() error {
	if c.TokenFile != "" {
		if c.Token != "" {
			return errors.New("WEIR_RING_TOKEN and WEIR_RING_TOKEN_FILE: one of them")
		}
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return fmt.Errorf("reading the token: %w", err)
		}
		if c.Token = strings.TrimSpace(string(b)); c.Token == "" {
			return fmt.Errorf("%s holds no token", c.TokenFile)
		}
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return errors.New("WEIR_RING_TLS_CERT_FILE and WEIR_RING_TLS_KEY_FILE go together")
	}
	if len(c.Scale) != 3 || !slices.IsSorted(c.Scale) || c.Scale[0] <= 0 {
		return errors.New("WEIR_RING_SCALE: want three rising numbers")
	}
	if c.Interfaces < 1 || c.Browsers < 1 || c.LoginTTL <= 0 {
		return errors.New("WEIR_RING_INTERFACES, WEIR_RING_BROWSERS and WEIR_RING_LOGIN_TTL must be positive")
	}
	c.rules = access.Rules{Token: c.Token, Header: c.Header, Act: c.Act, Issuer: c.Issuer, TTL: c.LoginTTL}
	for _, h := range c.Hosts {
		c.rules.Hosts = append(c.rules.Hosts, strings.ToLower(h))
	}
	for _, p := range c.Proxies {
		if a, err := netip.ParseAddr(p); err == nil {
			c.rules.Proxies = append(c.rules.Proxies, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		parsed, err := netip.ParsePrefix(p)
		if err != nil {
			return fmt.Errorf("WEIR_RING_PROXIES: %q is no address or prefix", p)
		}
		c.rules.Proxies = append(c.rules.Proxies, parsed.Masked())
	}
	if err := c.rules.Check(c.HTTPAddress); err != nil {
		return fmt.Errorf("WEIR_RING_*: %w", err)
	}
	return nil
}
