package policy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
)

func store(t *testing.T, dsn string) *Store {
	t.Helper()
	db, err := sqldb.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	desk := approval.New(db)
	s := NewStore(db, desk)
	for _, migrate := range []func(context.Context) error{desk.Migrate, s.Migrate} {
		if err := migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func withRule(number, name string) string {
	return "version: 1\nrules:\n  - {number: " + number + ", name: " + name + ", when: pin, action: alert}\n"
}

// put is a document in force: ann proposes and bob approves it.
func put(t *testing.T, s *Store, text string) Version {
	t.Helper()
	p, err := s.Propose(t.Context(), []byte(text), "x", "ann", "because")
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Approve(t.Context(), p.Number, "bob", "yes", nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLifeOfPolicies is one history, each step of which follows from those before.
func TestLifeOfPolicies(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		s, ctx := store(t, dsn), t.Context()
		refused := func(err error, want string) {
			t.Helper()
			if !errors.As(err, new(approval.Refusal)) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want the refusal %q", err, want)
			}
		}
		inForce := func(want uint32) {
			t.Helper()
			if v, err := s.InForce(ctx); err != nil && !errors.Is(err, ErrNone) || v.Number != want {
				t.Errorf("policy %d is in force, %v, want %d", v.Number, err, want)
			}
		}
		_, err := s.Rollback(ctx, "ann", "oops")
		refused(err, "no policy was put in force yet")
		_, err = s.Propose(ctx, []byte("version: 1\nrules:\n  - {number: 1000, name: r, when: pn, action: alert}\n"), "bad.yaml", "ann", "why")
		if want := `bad.yaml:3: rules[].when: rule "r": column 1: "pn" is not known`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		inForce(0)

		first, err := s.Propose(ctx, []byte(withRule("1000", "one")), "x", "ann", "a beginning")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Approve(ctx, first.Number, "Ann", "yes", nil)
		refused(err, "another person must decide it")
		inForce(0)
		other, err := s.Propose(ctx, []byte("version: 1\n"), "x", "bob", "another beginning")
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Approve(ctx, first.Number, "bob", "yes", nil)
		if err != nil || v.Number != 1 || v.By != "ann" || v.ApprovedBy != "bob" || v.Reason != "a beginning" || v.Proposal != first.Number {
			t.Fatalf("%+v, %v", v, err)
		}
		_, err = s.Approve(ctx, first.Number, "cid", "yes", nil)
		refused(err, "was approved by bob")
		_, err = s.Approve(ctx, other.Number, "ann", "yes", nil)
		refused(err, "it was proposed to replace policy 0, and policy 1 is in force since")
		refused(s.Reject(ctx, other.Number, "ann", ""), "say why")
		if err := s.Reject(ctx, other.Number, "ann", "too late"); err != nil {
			t.Error(err)
		}
		_, err = s.Approve(ctx, other.Number, "ann", "yes", nil)
		refused(err, "was rejected by ann")
		_, err = s.Rollback(ctx, "ann", "oops")
		refused(err, "policy 1 has none before it")
		_, err = s.Propose(ctx, []byte(withRule("1000", "one")), "x", "ann", "again")
		refused(err, "it is policy 1, which is in force")
		_, err = s.Propose(ctx, []byte(withRule("1000", "two")), "x", "ann", "again")
		refused(err, `number 1000 is rule "one" since policy 1`)

		if v := put(t, s, withRule("1001", "two")); v.Number != 2 {
			t.Errorf("%+v", v)
		}
		_, err = s.Propose(ctx, []byte(withRule("1000", "two")), "x", "ann", "again")
		refused(err, `number 1000 is rule "one" since policy 1`) // also when it is no longer in force
		third, err := s.Propose(ctx, []byte("version: 1\n"), "x", "ann", "less")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Approve(ctx, third.Number, "bob", "yes", func(before *Version, next *risk.Policy) error {
			if before.Number != 2 || next.Number != 3 || len(next.Own) != 0 {
				t.Errorf("asked about %+v after %+v", next, before)
			}
			return approval.Refuse("a merchant has used more")
		})
		refused(err, "a merchant has used more")
		inForce(2)
		_, err = s.Rollback(ctx, "", "oops")
		refused(err, "must be a person's name")
		v, err = s.Rollback(ctx, "cid", "it refuses too much")
		if err != nil || v.Number != 3 || v.Restores != 1 || v.Document != withRule("1000", "one") {
			t.Errorf("%+v, %v", v, err)
		}
		_, err = s.Rollback(ctx, "cid", "again")
		refused(err, "policy 3 is itself a rollback, to policy 1")
		_, err = s.Approve(ctx, third.Number, "bob", "yes", nil)
		refused(err, "proposed to replace policy 2, and policy 3 is in force")
		inForce(3)

		list, err := s.List(ctx)
		if err != nil || len(list) != 3 || list[0].Number != 1 || list[2].By != "cid" || list[2].Document != "" {
			t.Errorf("%+v, %v", list, err)
		}
		if p, err := v.Policy(); err != nil || p.Number != 3 || p.Own[0].Name != "one" {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := s.db.Write.ExecContext(ctx, "UPDATE risk_policy SET document = 'version: 1' WHERE number = 2"); err != nil {
			t.Fatal(err)
		}
		_, err = s.Get(ctx, 2)
		if err == nil || !strings.Contains(err.Error(), "policy 2 was changed in the database") || errors.As(err, new(approval.Refusal)) {
			t.Error(err)
		}
		_, err = s.Get(ctx, 9)
		refused(err, "there is no such policy")
	})
}

// Of two people who approve one proposal one does, and one version is there.
func TestApprovedOnce(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		s := store(t, dsn)
		p, err := s.Propose(t.Context(), []byte("version: 1\n"), "x", "ann", "why")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		errs := make(chan error, 2)
		for _, by := range []string{"bob", "cid"} {
			other := store(t, dsn)
			wg.Go(func() {
				_, err := other.Approve(t.Context(), p.Number, by, "yes", nil)
				errs <- err
			})
		}
		wg.Wait()
		a, b := <-errs, <-errs
		if (a == nil) == (b == nil) || !errors.As(errors.Join(a, b), new(approval.Refusal)) {
			t.Errorf("%v and %v", a, b)
		}
		if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// What another process approves is taken up, what cannot be taken up is told once.
func TestFollow(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		s := store(t, dsn)
		put(t, s, "version: 1\n")
		took, complaints := make(chan uint32, 8), make(chan error, 8)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- s.Follow(ctx, InForceAs{1, HashOf("version: 1\n")}, 10*time.Millisecond, func(v *Version) error {
				if v.Number == 3 {
					return errors.New("not this one")
				}
				took <- v.Number
				return nil
			}, func(err error) { complaints <- err })
		}()
		other := store(t, dsn)
		put(t, other, withRule("1000", "one"))
		if n := <-took; n != 2 {
			t.Errorf("took %d", n)
		}
		put(t, other, withRule("1001", "two"))
		if err := <-complaints; err.Error() != "not this one" {
			t.Error(err)
		}
		put(t, other, withRule("1002", "three"))
		if n := <-took; n != 4 {
			t.Errorf("took %d", n)
		}
		// A database that was restored lost it, and has another one of that number.
		restored := withRule("1003", "four")
		if _, err := s.db.Write.ExecContext(t.Context(), `UPDATE risk_policy SET document = $1, hash = $2 WHERE number = 4`, restored, HashOf(restored)); err != nil {
			t.Fatal(err)
		}
		if n := <-took; n != 4 {
			t.Errorf("took %d", n)
		}
		// One that was away comes back with none.
		for _, step := range []struct {
			statements []string
			want       error
		}{{[]string{`ALTER TABLE risk_policy RENAME TO away`}, approval.ErrNoSchema}, {[]string{`DELETE FROM away`, `ALTER TABLE away RENAME TO risk_policy`}, errLost}} {
			for _, statement := range step.statements {
				if _, err := s.db.Write.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-complaints; !errors.Is(err, step.want) {
				t.Errorf("%v, want %v", err, step.want)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(complaints) > 0 {
			t.Errorf("complained again: %v", <-complaints)
		}
	})
}

// That the database is away is told once, also where each try fails in other words: of
// a proxy without a server behind it, each names the port that it came from.
func TestFollowOfADatabaseThatIsAway(t *testing.T) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	tries := make(chan struct{}, 1000)
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
			tries <- struct{}{}
		}
	}()
	db, err := sqldb.Open("postgres://u@" + proxy.Addr().String() + "/d?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	complaints := 0
	go func() {
		ended <- NewStore(db, nil).Follow(ctx, InForceAs{}, time.Millisecond, nil, func(error) { complaints++ })
	}()
	for range 10 {
		<-tries
	}
	stop()
	if err := <-ended; err != nil || complaints != 1 {
		t.Errorf("%d complaints, %v", complaints, err)
	}
}
