package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// Reached is one broker of the cluster, by the address that it advertises.
type Reached struct {
	Address string
	Err     error // why it does not answer there; nil if it does
}

// Reach asks every broker of the cluster for an answer. The one that was asked
// first may well answer while what the others advertise leads nowhere.
func (c *Client) Reach(ctx context.Context) ([]Reached, error) {
	m, err := c.admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the brokers: %w", err)
	}
	answers, err := c.admin.ApiVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the brokers: %w", err)
	}
	out := make([]Reached, 0, len(m.Brokers))
	for _, b := range m.Brokers {
		r := Reached{Address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
		if a, ok := answers[b.NodeID]; ok {
			r.Err = a.Err
		}
		out = append(out, r)
	}
	return out, nil
}
