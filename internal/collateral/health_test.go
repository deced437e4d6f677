package collateral_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestAgeIsToldLongBeforeTheEnd(t *testing.T) {
	s := newScene(t)
	from := forge.AMDTime.AddDate(0, 0, -10)
	s.take(s.crl(made(t, milan), forge.AMDCRLConfig{Number: 2, At: from}))
	row := s.store.Health(s.now)[0]
	year := row.Until.Sub(row.From)
	if !row.Refresh.Equal(from.Add(year/2)) || !row.GraceFrom.After(row.Refresh) {
		t.Errorf("due at %v and in grace at %v, of %v to %v", row.Refresh, row.GraceFrom, row.From, row.Until)
	}
	if left := row.Until.Sub(row.GraceFrom); left < 45*24*time.Hour || left > 68*24*time.Hour {
		t.Errorf("grace is %s", left)
	}
	for _, moment := range []struct {
		at      time.Time
		age     collateral.Age
		failing bool
		told    bool
	}{
		{from, collateral.Fresh, false, false},
		{row.Refresh.Add(-time.Second), collateral.Fresh, false, false},
		{row.Refresh, collateral.Due, false, false},
		{row.GraceFrom, collateral.Grace, false, true},
		{row.Until, collateral.Grace, false, true},
		{row.Until.Add(time.Second), collateral.Expired, true, true},
		{from.Add(-time.Hour), collateral.Expired, true, true}, // a clock that went back
	} {
		rows := s.store.Health(moment.at)
		failing, err := collateral.Judge(rows[:1])
		if rows[0].Age != moment.age || failing != moment.failing || (err != nil) != moment.told {
			t.Errorf("at %s it is %s, failing %t, %v; want %s", moment.at, rows[0].Age, failing, err, moment.age)
		}
	}
	// Lines without a list are told: evidence of theirs cannot be judged.
	missing := map[string]bool{}
	for _, row := range s.store.Health(s.now)[1:] {
		missing[row.Name] = row.Problem != "" && row.Age == collateral.Expired
	}
	if !missing["ARK-Genoa"] || !missing["ARK-Turin"] || missing["ARK-Milan"] {
		t.Errorf("got %v", missing)
	}
	if failing, err := collateral.Judge(s.store.Health(s.now)); !failing || !strings.Contains(err.Error(), "ARK-Genoa") {
		t.Errorf("got %t, %v", failing, err)
	}
	if (collateral.Row{}).Age != collateral.Expired {
		t.Error("what nobody looked at is current")
	}
}

// TestGraceBeginsNotEverywhereAtOnce, and not for all lists of one place either.
func TestGraceBeginsNotEverywhereAtOnce(t *testing.T) {
	begins := map[time.Time]int{}
	one, other := newScene(t), newScene(t)
	for _, s := range []*scene{one, other} {
		for _, amd := range []*forge.AMD{made(t, milan), made(t, genoa)} {
			s.take(s.crl(amd, forge.AMDCRLConfig{}))
		}
		for _, row := range s.store.Health(s.now)[:2] {
			begins[row.GraceFrom]++
		}
		again := s.open().Health(s.now)
		for index, row := range s.store.Health(s.now) {
			if !row.GraceFrom.Equal(again[index].GraceFrom) {
				t.Error("it begins at another moment when the folder is opened again")
			}
		}
	}
	if len(begins) < 3 {
		t.Errorf("grace begins at %v", begins)
	}
}
