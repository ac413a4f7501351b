package integration_test

import (
	"context"
	"io"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// A client that searches, and has nothing to ask for a while.
func TestLDAP(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address := serveLDAP(t, lab.Server)
	usual, tuned := &dialer{host: lab.Client}, tuned(lab.Client, policy)
	open := func(t *testing.T, d *dialer) *ldap.Conn {
		t.Helper()
		var client *ldap.Conn
		var err error
		if d.lost == nil {
			configured := &policy
			if d == usual {
				configured = nil
			}
			nd := d.netDialer(t, configured)
			d.host.Do(func() { client, err = clients.LDAP("ldap://"+address, nd) })
			require.NoError(t, err)
		} else {
			conn, err := d.Dial("tcp4", address)
			require.NoError(t, err)
			client = clients.WatchedLDAP(conn)
		}
		t.Cleanup(func() { client.Close() })
		require.NoError(t, search(soon(t), client))
		return client
	}

	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, usual, tuned, func(t *testing.T, d *dialer) func(context.Context) error {
			client := open(t, d)
			return func(ctx context.Context) error { return search(ctx, client) }
		})
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			client := open(t, d)
			return func(ctx context.Context) error { return search(ctx, client) }
		}, textOnly, textOnly)
	})
}

func search(ctx context.Context, client *ldap.Conn) error {
	return within(ctx, func() error {
		_, err := client.Search(ldap.NewSearchRequest("dc=example", ldap.ScopeBaseObject, ldap.NeverDerefAliases,
			0, 0, false, "(objectClass=*)", nil, nil))
		return err
	})
}

// serveLDAP serves a directory in which every search succeeds and finds nothing.
func serveLDAP(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	go serve(ln, func(conn io.ReadWriteCloser) {
		defer conn.Close()
		for {
			request, err := ber.ReadPacket(conn)
			if err != nil || request.Children[1].Tag != ldap.ApplicationSearchRequest {
				return
			}
			done := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultDone, nil, "")
			done.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, ldap.LDAPResultSuccess, ""))
			done.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
			done.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
			answer := ber.NewSequence("")
			answer.AppendChild(request.Children[0])
			answer.AppendChild(done)
			if _, err := conn.Write(answer.Bytes()); err != nil {
				return
			}
		}
	})
	return ln.Addr().String()
}
