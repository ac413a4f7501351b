package clients

import (
	"crypto/tls"

	"github.com/redis/go-redis/v9"
	"github.com/seed-7be6acb7/keepalive"
)

// Redis opens a pool.
func Redis(address string, dial keepalive.DialFunc) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: address, Dialer: dial})
}

// RedisTLS opens a pool whose connections use TLS.
func RedisTLS(address string, config *tls.Config, policy keepalive.Config) *redis.Client {
	overTLS := &tls.Dialer{Config: config}
	return redis.NewClient(&redis.Options{Addr: address, Dialer: policy.WrapDial(overTLS.DialContext)})
}
