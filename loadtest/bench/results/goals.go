package results

// Goal is one promise, held against what was measured.
type Goal struct {
	Number int     `json:"number"`
	Text   string  `json:"text"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
	AtMost bool    `json:"at_most"` // else at least
	Met    bool    `json:"met"`
}
