package registry

import "testing"

func TestAcceptor(t *testing.T) {
	for _, row := range []struct{ name, city, country, want string }{
		{"Bund Books", "Shanghai", "CN", "Bund Books               Shanghai     CN"},
		{"Ginza Noodles with a name as long as it gets", "Tokyo", "JP", "Ginza Noodles with a nameTokyo        JP"},
		{"上海 Books", "上海", "CN", "   Books                              CN"},
		{"Caf\u00e9 \u4e0a", "K\u00f6ln", "DE", "Caf                      K ln         DE"},
	} {
		b := acceptor(row.name, row.city, row.country)
		if got := string(b[:]); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}
