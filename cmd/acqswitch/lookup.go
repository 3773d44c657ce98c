package main

import (
	"context"
	"net"
	"time"
)

// nameserverWithin is how long one nameserver may take for an answer. The five seconds
// of resolv.conf are all that a connection to an issuer has, and more than one to the
// database: behind a first nameserver that is gone the second would never be asked.
const nameserverWithin = time.Second

// lookup finds the addresses of all hosts that this process connects to. It takes effect
// where Go asks the nameservers, which is where the program is built without cgo.
var lookup = &net.Resolver{Dial: dialNameserver}

func dialNameserver(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if udp, ok := conn.(*net.UDPConn); ok {
		return hasty{udp}, err
	}
	return conn, err
}

// hasty is a nameserver to which nothing is said that takes longer than nameserverWithin.
type hasty struct{ *net.UDPConn }

func (c hasty) SetDeadline(t time.Time) error {
	if soon := time.Now().Add(nameserverWithin); soon.Before(t) {
		t = soon
	}
	return c.UDPConn.SetDeadline(t)
}
