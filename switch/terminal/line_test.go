package terminal

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// A host that takes one request a connection, as it says with each answer, is asked
// over new ones, and nothing is owed for it.
func TestHostThatTakesOneRequestAConnection(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.Copy(conn, r.Body)
		answer := make([]byte, 4096)
		n, _ := conn.Read(answer)
		w.Header().Set("Connection", "close")
		w.Write(answer[:n])
	}))
	defer host.Close()
	c, err := Dial(t.Context(), host.URL+"/pos", "cup-pos", testProfile, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if a, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1_00, Currency: txn.CNY}); err != nil || !a.Approved() || c.Owes() != 0 {
			t.Fatalf("%+v, %v, %06d is owed", a, err, c.Owes())
		}
	}
}
