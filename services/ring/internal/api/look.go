package api

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/ring/internal/access"
	"github.com/weir-net/weir/services/ring/internal/history"
	"github.com/weir-net/weir/services/ring/internal/live"
)

// stream pushes the picture as server-sent events.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, _ access.Person) {
	c, err := s.Hub.Subscribe()
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	defer s.Hub.Close(c)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not wait for more
	rc := http.NewResponseController(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case f, ok := <-c.Frames:
			if s.Gate.Looks(s.Gate.Who(r)) != nil {
				return // the login has ended meanwhile
			}
			// Several that wait go out together.
			for ; ok; f, ok = next(c.Frames) {
				if rc.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
					return
				}
				if _, err := w.Write(f); err != nil {
					return
				}
			}
			if rc.Flush() != nil {
				return
			}
		}
	}
}

// next returns a frame that waits already.
func next(frames <-chan []byte) ([]byte, bool) {
	select {
	case f, ok := <-frames:
		return f, ok
	default:
		return nil, false
	}
}

var (
	errNoStream = errors.New("there is no such stream")
	errNoNode   = errors.New("there is no such node")
)

// watch says of which interfaces a stream shows the sources. It changes nothing
// but that stream, whose name only its owner knows.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, _ access.Person) {
	var ids []uint32
	for part := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
		if id, err := strconv.ParseUint(part, 10, 32); err == nil {
			ids = append(ids, uint32(id))
		}
	}
	if !s.Hub.Watch(r.URL.Query().Get("stream"), ids) {
		fail(w, http.StatusNotFound, errNoStream)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// detail answers a hover at once.
func (s *Server) detail(w http.ResponseWriter, r *http.Request, _ access.Person) {
	id, err := strconv.ParseUint(r.URL.Query().Get("id"), 10, 32)
	if err != nil {
		fail(w, http.StatusBadRequest, errNoNode)
		return
	}
	d := s.Hub.Detail(uint32(id))
	if d == nil {
		fail(w, http.StatusNotFound, errNoNode)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(d) // the browser may have gone
}

// node reads host, interface and source.
func node(r *http.Request) (live.Node, error) {
	q := r.URL.Query()
	n := live.Node{Host: q.Get("host"), Interface: q.Get("interface")}
	if n.Host == "" && n.Interface != "" {
		return n, errNoNode
	}
	if text := q.Get("source"); text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || n.Interface == "" || a.Zone() != "" {
			return n, errNoNode
		}
		n.Source = a.Unmap()
	}
	return n, nil
}

// history answers with the last 15 minutes of a node: one list per column, with
// null where nothing was seen.
func (s *Server) history(w http.ResponseWriter, r *http.Request, _ access.Person) {
	n, err := node(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if n.Source.IsValid() {
		points := s.Hub.SourceHistory(n)
		columns, classes := [4][]float64{}, make(map[string][]float64)
		for _, p := range points {
			for c, name := range schemas.ClassNames {
				classes[name] = append(classes[name], round(p.ClassPPS(c)))
			}
			columns[0] = append(columns[0], float64(p.At))
			columns[1] = append(columns[1], round(p.PPS))
			columns[2] = append(columns[2], round(p.BPS))
			columns[3] = append(columns[3], round(p.DroppedPPS))
		}
		answer(w, map[string]any{"at": columns[0], "pps": columns[1], "bps": columns[2], "dropped": columns[3], "classes": classes})
		return
	}
	c := s.Hub.History(n)
	classes := make(map[string][]byte)
	for i, name := range schemas.ClassNames {
		classes[name] = numbers(c.V[history.FirstClass+i])
	}
	b := []byte(`{"start":` + strconv.FormatInt(c.Start, 10) + `,"pps":`)
	b = append(append(b, numbers(c.V[history.PPS])...), `,"bps":`...)
	b = append(append(b, numbers(c.V[history.BPS])...), `,"dropped":`...)
	b = append(append(b, numbers(c.V[history.DroppedPPS])...), `,"classes":{`...)
	for i, name := range schemas.ClassNames {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `"`+name+`":`...), classes[name]...), ' ')
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, `}}`...)) // the browser may have gone
}

func round(v float32) float64 { return math.Round(float64(v)) }

func numbers(values []float64) []byte {
	b := []byte{'['}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(v) {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendFloat(b, math.Round(v), 'f', -1, 64)
		}
	}
	return append(b, ']')
}

func (s *Server) search(w http.ResponseWriter, r *http.Request, _ access.Person) {
	found := s.Hub.Search(r.URL.Query().Get("q"), 30)
	answer(w, map[string]any{"found": found})
}

// why answers what happens to a source's packets and who decided that.
func (s *Server) why(w http.ResponseWriter, r *http.Request, _ access.Person) {
	n, err := node(r)
	if err != nil || !n.Source.IsValid() {
		fail(w, http.StatusBadRequest, errNoNode)
		return
	}
	covering, mode := s.Hub.Why(n)
	list := make([]live.Lease, 0, len(covering))
	for _, l := range covering {
		list = append(list, s.Hub.Describe(l))
	}
	answer(w, map[string]any{"mode": mode, "leases": list})
}
