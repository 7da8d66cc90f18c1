package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
)

// AwaitReady waits until every started service says that it is ready.
func (s *Stack) AwaitReady(ctx context.Context) error {
	for _, service := range All() {
		if s.running[service] == nil {
			continue
		}
		if err := s.Await(ctx, service); err != nil {
			return err
		}
	}
	return nil
}

// Await waits until one service is ready.
func (s *Stack) Await(ctx context.Context, service Service) error {
	err := poll(ctx, 30*time.Second, string(service), func() error {
		if err := s.ended(service); err != nil {
			return err
		}
		return s.Ready(service)
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.LogTail(service, 45))
	}
	return nil
}

// Ready asks a service whether it is ready.
func (s *Stack) Ready(service Service) error {
	_, err := s.Get(service, "/readyz")
	return err
}

// Get asks a service's health server.
func (s *Stack) Get(service Service, path string) (string, error) {
	ns := lab.Root
	if service == Probe {
		ns = s.ProbeIn
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			err = s.Lab.Do(ns, func() error {
				conn, err = net.DialTimeout(network, address, time.Second)
				return err
			})
			return conn, err
		},
	}
	client := http.Client{Transport: transport, Timeout: 2 * time.Second}
	resp, err := client.Get("http://" + s.health[service].String() + path)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", service, err)
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", service, err)
	}
	if resp.StatusCode != http.StatusOK {
		return body, fmt.Errorf("asking %s: %s: %s", service, resp.Status, strings.TrimSpace(body))
	}
	return body, nil
}
