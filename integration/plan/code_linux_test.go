package plan_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// code returns all lines for a language: comments must not keep it from compiling.
func (p plan) code(t *testing.T, language string) []string {
	t.Helper()
	require.NotEmpty(t, p[language], language)
	return p[language]
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
`, s.plan.code(t, "Java"))
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
`, s.plan.code(t, "Python"))
	return s.connected(t, "Python", byTimeout, func() *exec.Cmd { return exec.Command(netlab.LookPath(t, "python3"), file) })
}

func node(t *testing.T, s *scene) []end {
	file := s.script(t, "main.js", `
const socket = require('net').connect({ host: '%s', port: %d }, () => {
	%s
	console.log('connected');
	process.stdin.once('data', () => socket.write('x'));
});
`, s.plan.code(t, "Node.js"))
	return s.connected(t, "Node.js", byRetries, func() *exec.Cmd { return exec.Command(netlab.LookPath(t, "node"), file) })
}

// A crate compiles the programs in Rust once, and returns their folder.
type crate func() (dir string, err error)

// registry has the crates of Debian.
const registry = "/usr/share/cargo/registry"

// newCrate returns one for a program of each demand.
func newCrate(t *testing.T, plans map[demand]plan) crate {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write(".cargo/config", "[source.crates-io]\nreplace-with = 'debian'\n[source.debian]\ndirectory = '"+registry+"'\n")
	write("Cargo.toml", "[package]\nname = 'plan'\nversion = '0.0.0'\nedition = '2021'\n[dependencies]\nsocket2 = { version = '*', features = ['all'] }\n")
	for d, p := range plans {
		write("src/bin/"+programName(d)+".rs", fmt.Sprintf(`use std::io::{Read, Write};
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
`, strings.Join(p.code(t, "Rust"), "\n        ")))
	}
	return sync.OnceValues(func() (string, error) {
		cmd := exec.Command("cargo", "build", "--offline", "--quiet")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return filepath.Join(dir, "target/debug"), nil
	})
}

func programName(d demand) string {
	return fmt.Sprintf("program-%.0f-%v", d.detect.Seconds(), d.unacked)
}

func rust(t *testing.T, s *scene) []end {
	netlab.LookPath(t, "cargo")
	if found, _ := filepath.Glob(registry + "/socket2-*"); len(found) == 0 {
		netlab.Skip(t, fmt.Errorf("socket2 in %s: %w", registry, exec.ErrNotFound))
	}
	dir, err := s.crate()
	require.NoError(t, err)
	return s.connected(t, "Rust", byTimeout, func() *exec.Cmd {
		return exec.Command(filepath.Join(dir, programName(s.demand)), fmt.Sprintf("%s:%d", s.Server.IPv4, codePort))
	})
}
