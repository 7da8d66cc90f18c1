package gokakit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// certificate returns one for 127.0.0.1 that signs itself, and its file.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, file
}

// TestConnectionsAreEncrypted: sarama is told nothing of TLS, since the dialer does
// it, and checks the certificate.
func TestConnectionsAreEncrypted(t *testing.T) {
	mine, file := certificate(t)
	_, other := certificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{mine}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	dial := func(ca string) (net.Conn, error) {
		c, err := saramaConfig(&kafka.Config{Brokers: []string{l.Addr().String()}, TLS: true, TLSCAFile: ca}, "client", "instance")
		if err != nil {
			t.Fatal(err)
		}
		return c.Net.Proxy.Dialer.Dial("tcp", l.Addr().String())
	}
	c, err := dial(file)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("echo this")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("echo this"))
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "echo this" {
		t.Errorf("answered %q, %v", answer, err)
	}
	if c, err := dial(other); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a broker that nobody vouches for: %v", err)
		if err == nil {
			c.Close()
		}
	}
}
