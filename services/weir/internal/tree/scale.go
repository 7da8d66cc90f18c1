package tree

// Scale says which colour a rate has: the upper bounds, in packets per second, of
// the three colours between grey and red.
type Scale struct {
	Bounds [3]float64
	Safe   bool // the palette for the colour-blind
}

// ReportScale is the page's own default.
func ReportScale() Scale { return Scale{Bounds: [3]float64{700, 1400, 2100}} }

// levels is how many colours there are: grey, three, and red.
const levels = 5

// Level is the colour of a rate, 0 (grey) to 4 (red).
func (s Scale) Level(pps float64) int {
	if pps < 0.5 {
		return 0
	}
	level := 1
	for _, bound := range s.Bounds {
		if pps > bound {
			level++
		}
	}
	return level
}

// palette returns the colours of the levels, those of the page.
func (s Scale) palette() [levels]string {
	if s.Safe {
		return [levels]string{"#8d949c", "#cfe3f2", "#7db7dd", "#2b7bba", "#e66100"}
	}
	return [levels]string{"#8d949c", "#b8cc2e", "#7ed069", "#1f9d45", "#e0302a"}
}
