package kafka_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// TestOptions holds the client against what outages have taught: with the
// library's defaults a leader change takes 5 s, and 20 MiB of zeros pass.
func TestOptions(t *testing.T) {
	_, cfg := testkit.Double(t)
	client := testkit.Client(t, cfg)
	for _, c := range []struct {
		name string
		opt  any
		want any
	}{
		{"MetadataMinAge", kgo.MetadataMinAge, 250 * time.Millisecond},
		{"RequestTimeoutOverhead", kgo.RequestTimeoutOverhead, 3 * time.Second},
		{"ProduceRequestTimeout", kgo.ProduceRequestTimeout, 3 * time.Second},
		{"ProducerLinger", kgo.ProducerLinger, time.Duration(0)},
	} {
		if got := client.OptValue(c.opt); got != c.want {
			t.Errorf("%s is %v, want %v", c.name, got, c.want)
		}
	}
}

// TestDialerGivesUpOnSilence: without the socket option a connection into a
// black hole lives for a minute.
func TestDialerGivesUpOnSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := kafka.Dialer(time.Second)(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for name, option := range map[string]struct{ level, option, want int }{
			"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 3000},
			"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1},
			"TCP_KEEPCNT":      {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		} {
			if got, err := unix.GetsockoptInt(int(fd), option.level, option.option); err != nil || got != option.want {
				t.Errorf("%s is %d, %v; want %d", name, got, err, option.want)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
