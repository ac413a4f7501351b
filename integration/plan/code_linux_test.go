package plan_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// codePort is where the programs connect that have the printed lines of code. They
// send something once they have read a line.
const codePort = 7000

// connected starts such a program, of which connect returns the command.
func (s *scene) connected(t *testing.T, name, by string, connect func() *exec.Cmd) []end {
	t.Helper()
	accept := listen(t, s.Server, codePort)
	p := run(t, s.Client, connect())
	accept("")
	p.await(t, "connected")
	return []end{{name, s.Client, codePort, by, func() { p.say(t, "more") }}}
}

// script writes a program and returns its path.
func (s *scene) script(t *testing.T, name, format string, lines []string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	text := fmt.Sprintf(format, s.Server.IPv4, codePort, strings.Join(lines, "\n"))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func java(t *testing.T, s *scene) []end {
	file := s.script(t, "Main.java", `
import java.net.Socket;
import java.net.StandardSocketOptions;
import jdk.net.ExtendedSocketOptions;

public class Main {
	public static void main(String[] args) throws Exception {
		Socket socket = new Socket("%s", %d);
		%s
		System.out.println("connected");
		System.in.read();
		socket.getOutputStream().write(1);
		socket.getInputStream().read();
	}
}
`, s.plan.settings(t, "Java"))
	return s.connected(t, "Java", byRetries, func() *exec.Cmd {
		return exec.Command(netlab.LookPath(t, "java"), "-Djava.net.preferIPv4Stack=true", "-XX:TieredStopAtLevel=1", file)
	})
}

func python(t *testing.T, s *scene) []end {
	file := s.script(t, "main.py", `import socket
import sys

sock = socket.create_connection(("%s", %d))
%s
print("connected", flush=True)
sys.stdin.readline()
sock.sendall(b"x")
sock.recv(1)
`, s.plan.settings(t, "Python"))
	return s.connected(t, "Python", byTimeout, func() *exec.Cmd { return exec.Command(netlab.LookPath(t, "python3"), file) })
}

func node(t *testing.T, s *scene) []end {
	file := s.script(t, "main.js", `
const socket = require('net').connect({ host: '%s', port: %d }, () => {
	%s
	console.log('connected');
	process.stdin.once('data', () => socket.write('x'));
});
`, s.plan.settings(t, "Node.js"))
	return s.connected(t, "Node.js", byRetries, func() *exec.Cmd { return exec.Command(netlab.LookPath(t, "node"), file) })
}

// crate is where the programs in Rust lie, by demand.
type crate struct{ programs map[demand]string }

// newCrate compiles a program for each demand, with the crates that Debian has.
func newCrate(t *testing.T, plans map[demand]plan) crate {
	t.Helper()
	const registry = "/usr/share/cargo/registry"
	found, err := filepath.Glob(registry + "/socket2-*")
	require.NoError(t, err)
	if len(found) == 0 {
		netlab.Skip(t, fmt.Errorf("no %s/socket2-*: %w", registry, errors.New("apt-get install librust-socket2-dev")))
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write(".cargo/config", "[source.crates-io]\nreplace-with = 'debian'\n[source.debian]\ndirectory = '"+registry+"'\n")
	write("Cargo.toml", "[package]\nname = 'plan'\nversion = '0.0.0'\nedition = '2021'\n[dependencies]\nsocket2 = { version = '*', features = ['all'] }\n")
	c := crate{make(map[demand]string)}
	for i, d := range demands {
		name := fmt.Sprint("program", i)
		write("src/bin/"+name+".rs", fmt.Sprintf(`use std::io::{Read, Write};
#[allow(unused_imports)]
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let mut stream = std::net::TcpStream::connect(std::env::args().nth(1).unwrap())?;
    {
        %s
    }
    println!("connected");
    std::io::stdin().read_line(&mut String::new())?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}
`, strings.Join(plans[d].settings(t, "Rust"), "\n        ")))
		c.programs[d] = filepath.Join(dir, "target/debug", name)
	}
	cmd := exec.Command(netlab.LookPath(t, "cargo"), "build", "--offline", "--quiet")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return c
}

func rust(t *testing.T, s *scene) []end {
	return s.connected(t, "Rust", byTimeout, func() *exec.Cmd {
		return exec.Command(s.crate.programs[s.demand], fmt.Sprintf("%s:%d", s.Server.IPv4, codePort))
	})
}
