package dataplane

import (
	"fmt"
	"strings"

	"github.com/weir-net/weir/loadtest/bench/results"
)

// Summary says in a few sentences what a report found. What was not measured is
// not mentioned.
func Summary(r *results.Report) string {
	s := summary{report: r}
	s.say("Counting packets of a million sources with an empty filter, the whole program costs %s ns per packet: %s times "+
		"the cheapest exact counting that we know, and %s times what counting in the kernel's LRU_PERCPU_HASH costs.",
		s.at("stages", rowWeir, "1M"), s.ratio(cell{"stages", rowWeir, "1M"}, cell{"stages", rowFloor, "1M"}),
		s.ratio(cell{"stages", rowWeir, "1M"}, cell{"stages", rowStock, "1M"}))
	s.say("A flood of 16 million sources costs %s times as much per packet as one of a million, with %s packets unaccounted for.",
		s.ratio(cell{"flood", rowWeir, columnFlood}, cell{"flood", rowWeir, columnRoom}), s.at("exact", rowUncounted, columnFlood))
	s.say("Draining a million sources that every CPU has seen takes %s ms, %s ns per record.",
		s.at("drain", rowDrainWhole, "1M"), s.at("drain", rowPerRecord, "1M"))
	s.say("Dropping live frames of 1,000 blocked sources takes %s ns of CPU per frame, the sender's included; a program that only "+
		"drops takes %s, nftables %s and ipset %s.",
		s.at("live-drop", rowNative, "1k"), s.at("live-drop", rowXDPDrop, "1k"), s.at("live-drop", rowNFT, "1k"), s.at("live-drop", rowIPSet, "1k"))
	s.say("On veth at MTU 1500, by CPU time in lockstep, TCX leaves bulk TCP %s of its throughput, of which the hook alone leaves %s; native XDP leaves %s, "+
		"and a native program that only passes %s.",
		s.at("tcp-paired", pairOf(rowTCX, rowNone), columnTCP(1500)), s.at("tcp-paired", pairOf(rowTCXNext, rowNone), columnTCP(1500)),
		s.at("tcp-paired", pairOf(rowNative, rowNone), columnTCP(1500)), s.at("tcp-paired", pairOf(rowXDPPass, rowNone), columnTCP(1500)))
	s.say("In K-ONE's experiment the flood takes %s %% of one CPU unfiltered and %s %% filtered.",
		s.at("kone", rowUnfiltered, columnSYN), s.at("kone", rowFiltered, columnSYN))
	s.say("Received in softirq, as on most hosts, it takes %s %% of all CPUs unfiltered, %s %% filtered, and %s %% by a program that only drops.",
		s.at("kone-ways", rowUnfiltered, columnSoftirq), s.at("kone-ways", rowFiltered, columnSoftirq), s.at("kone-ways", rowXDPDrop, columnSoftirq))
	met, measured := 0, 0
	for _, g := range r.Goals {
		if g.Met() {
			met++
		}
		if !g.Missing {
			measured++
		}
	}
	s.sentences = append(s.sentences, fmt.Sprintf("Of %d measurable promises, %d were measured here and %d of these are kept.", len(r.Goals), measured, met))
	return strings.Join(s.sentences, "\n")
}

// summary collects sentences.
type summary struct {
	report    *results.Report
	missing   bool // a number of the sentence being made
	sentences []string
}

// say adds a sentence, unless one of its numbers is missing.
func (s *summary) say(format string, numbers ...any) {
	if !s.missing {
		s.sentences = append(s.sentences, fmt.Sprintf(format, numbers...))
	}
	s.missing = false
}

func (s *summary) at(experiment, row, column string) string {
	v, ok := s.report.Value(experiment, row, column)
	s.missing = s.missing || !ok
	return results.Number(v)
}

func (s *summary) ratio(a, b cell) string {
	v, ok := s.report.Value(a.experiment, a.row, a.column)
	w, ok2 := s.report.Value(b.experiment, b.row, b.column)
	if !ok || !ok2 || w == 0 {
		s.missing = true
		return ""
	}
	return results.Number(v / w)
}
