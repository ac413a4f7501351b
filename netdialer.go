package keepalive

import "net"

// NetDialer returns a copy of base that dials with c, for APIs that take a
// [*net.Dialer], such as [crypto/tls.DialWithDialer]. A nil base is equivalent to
// the zero net.Dialer. base is not modified.
//
// A net.Dialer whose Control is c.Control, but whose KeepAlive is not -1, holds
// the 15 s, 15 s and 9 of net and not c. NetDialer switches off what net sets,
// and sets ControlContext, which calls that of base, or its Control, first.
//
// NetDialer returns an error if c is invalid, or if a net.Dialer cannot set it on
// this system. An option that the kernel refuses is an error of the dial on
// Linux. On other systems net sets the options and drops that error; a [Dialer]
// returns it.
func (c Config) NetDialer(base *net.Dialer) (*net.Dialer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	nd := copyDialer(base)
	if err := setOnDial(nd, c); err != nil {
		return nil, err
	}
	return nd, nil
}

// copyDialer returns a copy of base without keepalive of net's own.
func copyDialer(base *net.Dialer) *net.Dialer {
	var nd net.Dialer
	if base != nil {
		nd = *base
	}
	nd.KeepAlive, nd.KeepAliveConfig = -1, net.KeepAliveConfig{}
	return &nd
}

// NetListenConfig returns a copy of base that listens with c, for APIs that take a
// [*net.ListenConfig]. A nil base is equivalent to the zero net.ListenConfig. base
// is not modified. The listeners are plain TCP, as those of [ListenConfig].
//
// NetListenConfig returns an error if c is invalid, or if a net.ListenConfig
// cannot set it on this system: on gVisor, where accepted sockets do not inherit
// it, and where an option is unsupported. On other systems than Linux net sets the
// options on accepted connections and drops an error; a [ListenConfig] returns it.
func (c Config) NetListenConfig(base *net.ListenConfig) (*net.ListenConfig, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	nlc := copyListenConfig(base)
	nlc.SetMultipathTCP(false)
	if err := setOnListen(nlc, c); err != nil {
		return nil, err
	}
	return nlc, nil
}

// copyListenConfig returns a copy of base without keepalive of net's own, which
// would replace what was inherited.
func copyListenConfig(base *net.ListenConfig) *net.ListenConfig {
	var nlc net.ListenConfig
	if base != nil {
		nlc = *base
	}
	nlc.KeepAlive, nlc.KeepAliveConfig = -1, net.KeepAliveConfig{}
	return &nlc
}
