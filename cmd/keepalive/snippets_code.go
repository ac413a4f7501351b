package main

import (
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

func java(c keepalive.Config) []string {
	return []string{
		"socket.setOption(StandardSocketOptions.SO_KEEPALIVE, true);",
		fmt.Sprintf("socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, %d);", c.Idle/time.Second),
		fmt.Sprintf("socket.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, %d);", c.Interval/time.Second),
		fmt.Sprintf("socket.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, %d);", c.Count),
		"# of java.net and jdk.net, since Java 11",
	}
}

func python(c keepalive.Config) []string {
	lines := []string{
		"sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)",
		fmt.Sprintf("sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, %d)", c.Idle/time.Second),
		fmt.Sprintf("sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, %d)", c.Interval/time.Second),
		fmt.Sprintf("sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, %d)", c.Count),
	}
	lines = timeoutLine(c, "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, %d)", lines...)
	if c.MaxRTO != 0 {
		lines = append(lines, fmt.Sprintf("sock.setsockopt(socket.IPPROTO_TCP, 44, %d)  # TCP_RTO_MAX_MS", c.MaxRTO.Milliseconds()))
	}
	return lines
}

// node has one number, for Idle: it makes ten probes a second apart
// (uv_tcp_keepalive of libuv).
func node(t keepalive.Target, c keepalive.Config) []string {
	means := longestIdle(t, c, func(idle time.Duration) keepalive.Config {
		return keepalive.Config{Idle: idle, Interval: time.Second, Count: 10}
	})
	return []string{fmt.Sprintf("socket.setKeepAlive(true, %d)", means.Idle.Milliseconds()), meaning(t, means)}
}

func rust(c keepalive.Config) []string {
	lines := []string{
		"let socket = socket2::SockRef::from(&stream);",
		fmt.Sprintf("let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(%d))", c.Idle/time.Second),
		fmt.Sprintf("    .with_interval(Duration::from_secs(%d)).with_retries(%d);", c.Interval/time.Second, c.Count),
		"socket.set_tcp_keepalive(&keepalive)?;",
	}
	lines = timeoutLine(c, "socket.set_tcp_user_timeout(Some(Duration::from_millis(%d)))?;", lines...)
	return append(lines, "# of the crate socket2, with its feature all")
}
