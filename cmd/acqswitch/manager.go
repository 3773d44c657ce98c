package main

import (
	"errors"
	"net"
	"os"
)

// tellManager tells a service manager that waits for it (systemd's Type=notify) that
// terminals can connect. A program that takes over says it again, in the same process:
// the variable must stay in the environment.
func tellManager() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("READY=1"))
	return errors.Join(err, conn.Close())
}
