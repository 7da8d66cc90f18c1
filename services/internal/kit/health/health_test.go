package health_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-net/weir/services/internal/kit/health"
)

// serve runs a server on a free port of the loopback until the test ends.
func serve(t *testing.T, s *health.Server) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); ended.Wait() })
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(address, path string) (int, string, error) {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func TestReadyNamesWhatIsMissing(t *testing.T) {
	address := freeAddress(t)
	s := health.New(address)
	var mu sync.Mutex
	missing := map[string]error{"a": errors.New("not yet"), "b": errors.New("neither")}
	for name := range missing {
		s.Ready(name, func() error { mu.Lock(); defer mu.Unlock(); return missing[name] })
	}
	s.Counter("weir_test_total", "Test.", func() float64 { return 7 })
	serve(t, s)
	deadline := time.Now().Add(10 * time.Second)
	code, body, err := get(address, "/readyz")
	for ; err != nil && time.Now().Before(deadline); code, body, err = get(address, "/readyz") {
		time.Sleep(5 * time.Millisecond)
	}
	if code != http.StatusServiceUnavailable || body != "a: not yet\nb: neither\n" {
		t.Errorf("%d %q %v", code, body, err)
	}
	if code, _, err := get(address, "/healthz"); code != http.StatusOK {
		t.Errorf("alive though not ready: %d %v", code, err)
	}
	if _, body, err := get(address, "/metrics"); !strings.Contains(body, "weir_test_total 7") {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	mu.Lock()
	clear(missing)
	mu.Unlock()
	if code, body, err := get(address, "/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %q %v", code, body, err)
	}
}

// TestAddressInUse: a service that cannot be watched says so instead of running
// unwatched.
func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := health.New(l.Addr().String()).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v", err)
	}
}

func TestOff(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := health.New("off").Run(ctx); err != nil {
		t.Error(err)
	}
}
