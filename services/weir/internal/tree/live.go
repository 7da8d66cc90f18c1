package tree

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Live is the tree on a terminal of a person: a bubbletea model.
type Live struct {
	picture  *Picture
	clock    func() time.Time
	interval time.Duration

	view   View
	screen Screen
	sum    Summary
	rows   []Row
	chosen string        // key of the row that the cursor is on
	took   time.Duration // the last renewal
}

// help is the line at the bottom.
const help = "↑↓ move  ←→ close, open  + − sources  o order  c colour-blind safe  q quit"

// NewLive returns the tree of a picture, drawn anew at each interval.
func NewLive(p *Picture, clock func() time.Time, interval time.Duration, v View, s Scale) *Live {
	if v.Closed == nil {
		v.Closed = make(map[string]bool)
	}
	v.Budget = interval / 5
	return &Live{picture: p, clock: clock, interval: interval, view: v, screen: Screen{Width: 80, Height: 24, Scale: s, Help: help}}
}

// tick asks for a new drawing.
type tick time.Time

func (l *Live) wait() tea.Cmd {
	return tea.Tick(l.interval, func(t time.Time) tea.Msg { return tick(t) })
}

// Init implements tea.Model.
func (l *Live) Init() tea.Cmd {
	l.renew()
	return l.wait()
}

// Update implements tea.Model.
func (l *Live) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tick:
		l.renew()
		return l, l.wait()
	case tea.WindowSizeMsg:
		l.screen.Width, l.screen.Height = m.Width, m.Height
	case tea.KeyPressMsg:
		if l.press(m.String()) {
			return l, tea.Quit
		}
		l.renew()
	}
	l.scroll()
	return l, nil
}

// View implements tea.Model.
func (l *Live) View() tea.View {
	v := tea.NewView(Draw(l.sum, l.rows, l.screen))
	v.AltScreen, v.WindowTitle = true, "weir ring"
	return v
}

// press acts on a key, and reports whether it ends the program.
func (l *Live) press(key string) (quit bool) {
	switch key {
	case "q", "esc", "ctrl+c":
		return true
	case "down", "j":
		l.move(1)
	case "up", "k":
		l.move(-1)
	case "pgdown", "space":
		l.move(l.screen.room())
	case "pgup":
		l.move(-l.screen.room())
	case "home", "g":
		l.move(-len(l.rows))
	case "end", "G":
		l.move(len(l.rows))
	case "right", "l":
		l.open(true)
	case "left", "h":
		l.open(false)
	case "enter":
		if r := l.row(); r != nil {
			l.open(!r.Open)
		}
	case "+", "=":
		l.view.Sources = min(256, l.view.Sources+5)
	case "-":
		l.view.Sources = max(0, l.view.Sources-5)
	case "o":
		l.view.ByRate = !l.view.ByRate
	case "c":
		l.screen.Scale.Safe = !l.screen.Scale.Safe
	}
	return false
}

// renew reads the picture; the cursor stays on its row, wherever that is now.
func (l *Live) renew() {
	began := time.Now()
	defer func() { l.took = time.Since(began) }()
	l.view.Seen = l.seen()
	l.sum, l.rows = l.picture.Rows(l.clock(), l.view)
	for n, r := range l.rows {
		if r.Key == l.chosen {
			l.screen.Cursor = n
		}
	}
	l.move(0)
	l.scroll()
}

// seen are the interfaces on the screen.
func (l *Live) seen() map[string]bool {
	keys := make(map[string]bool)
	for n := l.screen.Top; n < min(len(l.rows), l.screen.Top+l.screen.room()); n++ {
		key, _, _ := strings.Cut(l.rows[n].Key, "|") // a source's is its interface's and its own
		keys[key] = true
	}
	return keys
}

// move moves the cursor by n rows.
func (l *Live) move(n int) {
	l.screen.Cursor = max(0, min(len(l.rows)-1, l.screen.Cursor+n))
	if r := l.row(); r != nil {
		l.chosen = r.Key
	}
}

func (l *Live) row() *Row {
	if l.screen.Cursor < 0 || l.screen.Cursor >= len(l.rows) {
		return nil
	}
	return &l.rows[l.screen.Cursor]
}

// open opens or closes the row; closing one that has nothing open goes to its
// parent.
func (l *Live) open(open bool) {
	r := l.row()
	if r == nil {
		return
	}
	branch := r.Kind <= Interface && !r.Childless
	switch {
	case branch && open:
		delete(l.view.Closed, r.Key)
	case branch && r.Open:
		l.view.Closed[r.Key] = true
	case !open:
		for n := l.screen.Cursor; n >= 0; n-- {
			if l.rows[n].Kind < r.Kind && l.rows[n].Kind <= Interface {
				l.move(n - l.screen.Cursor)
				return
			}
		}
	}
}

// scroll keeps the cursor on the screen.
func (l *Live) scroll() {
	room := l.screen.room()
	l.screen.Top = min(l.screen.Top, l.screen.Cursor)
	l.screen.Top = max(l.screen.Top, l.screen.Cursor-room+1)
	l.screen.Top = max(0, min(l.screen.Top, len(l.rows)-room))
}
