package script

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shipped = "../../../testdata/script"

// The shipped day has every kind that a terminal starts, and all shipped scripts
// can be read and say what they are about.
func TestShipped(t *testing.T) {
	files, err := filepath.Glob(shipped + "/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	done := map[string]bool{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Read(f)
		f.Close()
		if err != nil || s.Title == "" {
			t.Fatalf("%s: title %q, %v", name, s.Title, err)
		}
		if filepath.Base(name) == "day.txt" {
			for i := range s.steps {
				done[s.steps[i].deed] = true
			}
		}
	}
	for k := txn.KindSale; int(k) < txn.Kinds; k++ {
		if sends(k) != done[k.String()] {
			t.Errorf("%s is in the day: %v", k, done[k.String()])
		}
	}
}

func TestBadScripts(t *testing.T) {
	const at = "at 1 merchant=2\ncard c 9999010000090012\n"
	for _, row := range []struct{ name, script, want string }{
		{"empty", "", "it has no step"},
		{"only who", at, "it has no step"},
		{"unknown verb", "dance", `line 1: "dance" is no verb: at, card, terminal`},
		{"nowhere", "terminal echo", "line 1: no line before says at which terminal"},
		{"nobody's", "at 1", "line 1: merchant= must say whose"},
		{"dialect", "at 1 merchant=2 dialect=klingon", `line 1: dialect "klingon"`},
		{"changed", at + "at 1 merchant=3", "line 3: terminal 1 was another one before"},
		{"unknown word", at + "terminal sale amonut=1", `line 3: "amonut" is not known here`},
		{"unknown deed", at + "terminal dance", `line 3: "dance" is nothing that a terminal does`},
		{"upload", at + "terminal upload", `line 3: "upload" is nothing`},
		{"void of nothing", at + "terminal void", "line 3: of= must say which step"},
		{"repeat of nothing", at + "terminal repeat", "line 3: of= must say which step"},
		{"void of what comes later", at + "terminal void of=a\nterminal sale amount=1 as=a", "line 3: of=a is no earlier step"},
		{"name used twice", at + "terminal sale amount=1 as=a\nterminal sale amount=1 as=a", "line 4: as=a is the name of an earlier step"},
		{"amount", at + "terminal sale amount=1.234", "line 3: amount"},
		{"replacement of a sale", at + "terminal sale amount=2 replacement=1", "line 3: replacement=1 must be what stands after a reversal"},
		{"card", "card c 12", "line 1: card number"},
		{"card of no name", "card 9999010000090012", "line 1: must say the card's number"},
		{"card twice", at + "card c 9999010000090012", "line 3: card c is there already"},
		{"strange card", at + "terminal sale amount=1 card=d", "line 3: no line before says what card d is"},
		{"entry", "card c 9999010000090012 entry=nose", "line 1: card entry"},
		{"PIN", "card c 9999010000090012 pin=123x", "line 1: pin must be 4 to 12 digits"},
		{"expiry", "card c 9999010000090012 expiry=may", "line 1: expiry must be YYMM"},
		{"wait", at + "terminal echo patience=25h", "line 3: patience=25h must be a time"},
		{"pause", "pause soon", "line 1: pause must say how long"},
		{"bytes", at + "terminal send xyz", "line 3: send must have"},
		{"expect of nothing", at + "expect 00", "line 3: expect must follow what a terminal sends"},
		{"expect of a restart", at + "terminal restart\nexpect 00", "line 4: expect must follow"},
		{"expect twice", at + "terminal echo\nexpect 00\nexpect 00", "line 5: what to expect was said already"},
		{"expect no code", at + "terminal echo\nexpect DE4=1", "line 4: must say a code"},
		{"expect a strange field", at + "terminal echo\nexpect 00 DE129=1", `line 4: "DE129" is not known here`},
		{"issuer dances", "issuer east dance", `line 1: "dance" is nothing that an issuer does`},
		{"issuer's code", "issuer decline", "line 1: must say with which code"},
		{"issuer's time", "issuer late", "line 1: must say how late"},
		{"issuer's kind", "issuer silent kind=dance", "line 1: kind=dance is no kind"},
		{"issuer expects nothing", "issuer expect", "line 1: must say how many"},
		{"issuer expects less than nothing", "issuer expect approved=-1", "line 1: approved=-1 must be a number"},
		{"long line", "# " + strings.Repeat("x", lineMax), "token too long"},
		{"long", strings.Repeat("#"+strings.Repeat("x", 1000)+"\n", 1100), "longer than"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(row.script))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q in it", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "9999010000090012") {
				t.Error("the card is quoted")
			}
		})
	}
}

// strange is a switch of somebody else's.
type strange struct {
	addr  string
	path  string
	store *terminal.Store
}

func (s *strange) Own() Own { return nil }

func (s *strange) Dial(ctx context.Context, w Who, r terminal.Recorder) (_ *terminal.Client, err error) {
	if s.store != nil {
		s.store.Close()
	}
	if s.store, err = terminal.OpenStore(s.path); err != nil {
		return nil, err
	}
	return terminal.Dial(ctx, s.addr, w.Dialect, terminal.Profile{Terminal: txn.MakeTerminalID(w.Terminal), Merchant: txn.MakeMerchantID(w.Merchant)},
		terminal.Options{Store: s.store, Patience: time.Second, Recorder: r})
}

// A case with steps that go otherwise, a lost answer and a restart comes to its
// end, and says what was off.
func TestPlay(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	host.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSale && req.Amount.Minor == 6_66 {
			return nil
		}
		return answer
	})
	s, err := Read(strings.NewReader(`# A day.
at 10000001 merchant=999290054110001
card usual 9999010000090012 expiry=4912
terminal sign-on
terminal sale amount=12.50 as=coffee
expect 00 DE4=000000001250 DE38=present DE54=absent within=10s
terminal tip amount=2.00 of=coffee
terminal sale amount=6.66
expect none
terminal restart
terminal repeat of=coffee
terminal void of=coffee
terminal sale amount=1.00
expect 51
terminal sale amount=2.00
expect 00 DE4=1 DE54=present DE38=absent
terminal settlement
pause 1ms
`))
	if err != nil {
		t.Fatal(err)
	}
	stage := &strange{addr: host.Addr, path: filepath.Join(t.TempDir(), "store")}
	var shown []string
	r, err := s.Play(t.Context(), stage, func(d *Done) {
		if d.Got != "" {
			shown = append(shown, d.Step+": "+d.Got)
		}
		if !d.OK {
			shown = append(shown, "OFF "+d.Why)
		}
	})
	stage.store.Close()
	if err != nil {
		t.Fatal(err)
	}
	want := "terminal sign-on: 00, terminal sale amount=12.50 as=coffee: 00, terminal tip amount=2.00 of=coffee: 00, terminal sale amount=6.66: none, " +
		"terminal repeat of=coffee: same, terminal void of=coffee: 00, terminal sale amount=1.00: 00, OFF , " +
		"terminal sale amount=2.00: 00, OFF DE4 is not 1; DE54 is not there; DE38 is there, terminal settlement: even"
	if got := strings.Join(shown, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r.Title != "A day." || r.Off != 2 || r.OK() || *r.Terminal != *r.Host || r.Terminal.Debit != (txn.Sum{Count: 4, Minor: 17_50}) {
		t.Errorf("%+v", r)
	}
	if _, reversed := host.Sale("10000001", 1, 4); !reversed {
		t.Error("the sale without an answer is not reversed")
	}
}

// What only one's own switch can do is not begun against another.
func TestNeedsOwn(t *testing.T) {
	for _, verb := range []string{"kill", "start", "verify", "issuer silent", "issuer expect approved=1"} {
		s, err := Read(strings.NewReader("at 1 merchant=2\nterminal echo\n" + verb + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Play(t.Context(), &strange{}, nil); !errors.Is(err, ErrNeedsOwn) || !strings.Contains(err.Error(), "line 3") || r.Steps != 0 {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// scripted is a switch of one's own that notes what is done to it.
type scripted struct {
	strange
	did    []string
	booked map[string]int
	broken error
}

func (s *scripted) Own() Own { return s }
func (s *scripted) Instruct(name string, a Act) error {
	s.did = append(s.did, "instruct "+name+" "+a.Code)
	return nil
}
func (s *scripted) Booked(string) (map[string]int, error) { return maps.Clone(s.booked), nil }
func (s *scripted) Kill() error                           { s.did = append(s.did, "kill"); return nil }
func (s *scripted) Start(context.Context) error           { s.did = append(s.did, "start"); return nil }
func (s *scripted) Verify(context.Context) error          { return s.broken }

// A book that has something else and a verification that fails are told.
func TestOwn(t *testing.T) {
	s, err := Read(strings.NewReader("issuer east decline 51\nkill\nstart\nissuer expect approved=2 reversed=0\nissuer expect approved=1 within=30ms\nverify within=30ms\n"))
	if err != nil {
		t.Fatal(err)
	}
	own := &scripted{booked: map[string]int{"approved": 2}, broken: errors.New("3 reversals are owed")}
	r, err := s.Play(t.Context(), own, nil)
	if err != nil || strings.Join(own.did, ", ") != "instruct east 51, kill, start" || r.Off != 2 {
		t.Fatalf("%v, %v, %+v", own.did, err, r)
	}
	if why := r.Done[4].Why; why != "the book has approved=2 after 30ms" {
		t.Error(why)
	}
	if why := r.Done[5].Why; why != "3 reversals are owed" {
		t.Error(why)
	}
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob(shipped + "/*.txt")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("at 1 merchant=2\nterminal send 00\nexpect none DE2=present within=1s")
	f.Fuzz(func(t *testing.T, script string) {
		s, err := Read(strings.NewReader(script))
		if err == nil && (len(s.steps) == 0 || len(s.steps) > stepsMax) {
			t.Errorf("%d steps were read", len(s.steps))
		}
	})
}
