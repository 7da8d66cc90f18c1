package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/internal/kit/config"
)

// Config is the policy's environment, prefix WEIR_POLICY_.
type Config struct {
	Instance      string        `desc:"name of this instance, kept over restarts; the host name if empty"`
	Group         string        `default:"weir.policy.v1" desc:"consumer group; instances of one group share the interfaces"`
	Rules         string        `desc:"rules file (YAML), taken anew when it changes; the embedded rules if empty"`
	Protected     []string      `desc:"prefixes never to block, separated by commas"`
	Scope         string        `default:"interface" desc:"what a lease targets: interface, or host"`
	RememberEvery time.Duration `envconfig:"REMEMBER_EVERY" default:"5m" desc:"how often what is usual on an interface is written down, 1s or more; a crash loses no more than that"`
	HTTPAddress   string        `envconfig:"HTTP_ADDRESS" default:"127.0.0.1:9472" desc:"where /healthz, /readyz and /metrics are served; off: nowhere"`

	protected []netip.Prefix
	rules     *rules.Rules // of the file
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if c.Instance == "" {
		c.Instance = config.HostName()
	}
	var errs []error
	for _, s := range c.Protected {
		p, err := commands.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("WEIR_POLICY_PROTECTED %q: %w", s, err))
			continue
		}
		c.protected = append(c.protected, p)
	}
	if c.Scope != "interface" && c.Scope != "host" {
		errs = append(errs, fmt.Errorf("WEIR_POLICY_SCOPE %q: want interface or host", c.Scope))
	}
	if c.RememberEvery < time.Second {
		errs = append(errs, fmt.Errorf("WEIR_POLICY_REMEMBER_EVERY %v: want 1s or more", c.RememberEvery))
	}
	if c.Group == "" {
		errs = append(errs, errors.New("WEIR_POLICY_GROUP is empty"))
	}
	var err error
	if c.rules, err = rules.Load(c.Rules); err != nil {
		errs = append(errs, fmt.Errorf("WEIR_POLICY_RULES: %w", err))
	}
	return errors.Join(errs...)
}
