package clients

import (
	"github.com/bradfitz/gomemcache/memcache"
	"github.com/seed-7be6acb7/keepalive"
)

// Memcache returns a pool of connections to each server.
func Memcache(dial keepalive.DialFunc, servers ...string) *memcache.Client {
	client := memcache.New(servers...)
	client.DialContext = dial
	return client
}
