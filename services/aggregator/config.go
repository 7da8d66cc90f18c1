package main

import "github.com/weir-net/weir/services/internal/kit/config"

// Config is the aggregator's environment, prefix WEIR_AGGREGATOR_.
type Config struct {
	Instance    string `desc:"name of this instance, kept over restarts; the host name if empty"`
	HTTPAddress string `envconfig:"HTTP_ADDRESS" default:"127.0.0.1:9471" desc:"where /healthz, /readyz and /metrics are served; off: nowhere"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if c.Instance == "" {
		c.Instance = config.HostName()
	}
	return nil
}
