package main

import "testing"

func TestAJournalGrows(t *testing.T) {
	b, _ := testBench(t)
	if err := b.buildOnce(t.Context(), buildParley); err != nil {
		t.Fatal(err)
	}
	g, err := b.growingJournal(t.Context(), 20_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range g.picture.curves {
		if len(c.at) != 2 || c.at[0].n != 10_000 || c.at[1].n != 20_000 {
			t.Errorf("%s has %v", c.name, c.at)
			continue
		}
		if c.name != "indexed for texts" && (c.at[0].cost < 1e6 || c.at[1].cost > 1e11) { // ms to minutes
			t.Errorf("%s costs %v", c.name, c.at)
		}
	}
	if written := g.picture.curves[0].at; written[1].cost <= written[0].cost {
		t.Errorf("more exchanges cost less to write: %v", written)
	}
}

func TestTabsAreMeasured(t *testing.T) {
	b, _ := testBench(t)
	if err := b.buildOnce(t.Context(), buildParley); err != nil {
		t.Fatal(err)
	}
	for _, session := range []bool{false, true} {
		if cost, err := b.tabs(t.Context(), 3, session); err != nil || cost < 1e6 || cost > 1.1e9 {
			t.Errorf("three tabs, of a session %v: %g ns a second, %v", session, cost, err)
		}
	}
}
