package clients

import (
	"net"

	"github.com/go-ldap/ldap/v3"
)

// LDAP connects with a dialer of Config.NetDialer.
func LDAP(url string, dialer *net.Dialer) (*ldap.Conn, error) {
	return ldap.DialURL(url, ldap.DialWithDialer(dialer))
}

// WatchedLDAP runs over a connection of Watch.
func WatchedLDAP(conn net.Conn) *ldap.Conn {
	client := ldap.NewConn(conn, false)
	client.Start()
	return client
}
