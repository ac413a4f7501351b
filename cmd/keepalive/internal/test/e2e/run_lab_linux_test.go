package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
)

const (
	forgets = 3 * time.Second // the firewall's timeout of a silent connection
	silence = 7 * time.Second // how long the programs have nothing to say

	// replyTimeout is how long a program that hangs is watched. One that works has
	// atMost: it ends a test that fails, and measures nothing.
	replyTimeout = 4 * time.Second
	atMost       = 30 * time.Second
)

// planned is what keepalive plan --detect 4.5s --idle-limit 3s answers.
var planned = keepalive.Target{Detect: 4500 * time.Millisecond, IdleLimit: forgets}

// slack is what a program may take, on a machine that others share, to say that its
// peer is lost. By themselves these programs take 30 s at least.
const slack = 3 * time.Second

// A victim is a program on the client's side of the firewall, which listens to a
// server on the other side.
type victim struct {
	// say has the server say a word to the program.
	say func(t *testing.T, word string)

	// hears reports whether the program has heard the word within a time.
	hears func(word string, within time.Duration) bool

	// loses reports whether the program has noticed within a time that the
	// server does not answer any more.
	loses func(within time.Duration) bool

	reconnects bool

	process *process
	spoken  func() string // changes whenever the server says something; nil where it never does by itself
}

// awaitSilence waits until the server has said nothing for so long that the
// firewall has forgotten the connection.
func (v *victim) awaitSilence(t *testing.T) {
	t.Helper()
	for range 5 {
		before := v.state()
		time.Sleep(silence)
		if v.state() == before {
			return
		}
	}
	t.Fatal("the server does not fall silent")
}

func (v *victim) state() string {
	if v.spoken == nil {
		return ""
	}
	return v.spoken()
}

// sendQueues returns how much each connection of a host has sent, or is to send,
// that is not acknowledged, by its local address.
func sendQueues(t *testing.T, host *netlab.Host) map[string]string {
	t.Helper()
	queues := make(map[string]string)
	for line := range strings.Lines(runOn(t, host, nil, netlab.LookPath(t, "ss"), "-tnH", "state", "established")) {
		fields := strings.Fields(line) // Recv-Q, Send-Q, local address, peer
		require.Len(t, fields, 4, line)
		queues[fields[2]] = fields[1]
	}
	return queues
}

// awaitAcks waits until all that the host has sent is acknowledged, but for some
// connections. While data is in flight the kernel does not probe.
func awaitAcks(t *testing.T, host *netlab.Host, but map[string]string) {
	t.Helper()
	await(t, func() bool {
		for local, queue := range sendQueues(t, host) {
			if _, ok := but[local]; !ok && queue != "0" {
				return false
			}
		}
		return true
	})
}

// testVictim runs a program as it is, and one under keepalive run: across a
// silence that is longer than what the firewall remembers, across the loss of
// everything that the firewall remembers, and to a server that is silent.
func testVictim(t *testing.T, lab *netlab.Lab, open func(t *testing.T, under []string) victim) {
	t.Helper()
	c, err := keepalive.Plan(planned)
	require.NoError(t, err)
	self := command(t, "run", c.String(), "--")
	run := self.Args

	// One that does not hear the word was too slow to use its connection before
	// the firewall forgot it.
	connect := func(under []string, word string) (v victim) {
		for range 5 {
			v = open(t, under)
			v.say(t, word)
			if v.hears(word, replyTimeout) {
				return v
			}
		}
		t.Fatal("it does not hear the server: ", v.process.stderr.String())
		return v
	}
	usual := connect(nil, "before")
	usuals := sendQueues(t, lab.Client)
	kept := connect(run, "before")
	kept.awaitSilence(t)
	for _, v := range []victim{usual, kept} {
		v.say(t, "after")
	}
	assert.True(t, kept.hears("after", atMost), "it hangs under keepalive run")
	assert.False(t, usual.hears("after", replyTimeout), "the firewall should have forgotten the connection")
	// The firewall forgot it 8 s ago, which is longer than loses waits. redis-cli gives up
	// after 30 s.
	assert.False(t, usual.loses(0), "without keepalive run it should hang")

	awaitAcks(t, lab.Client, usuals)
	lab.Forget(t)
	loses(t, kept, "the firewall has forgotten the connection")
	if kept.reconnects {
		kept.say(t, "again")
		require.True(t, kept.hears("again", atMost), "it does not connect anew")
	} else {
		kept = connect(run, "again")
	}

	awaitAcks(t, lab.Client, usuals)
	lab.Block(t)
	loses(t, kept, "the server is silent")
}

// loses asserts that a program notices the loss of its peer in time.
func loses(t *testing.T, v victim, why string) {
	t.Helper()
	since := time.Now()
	assert.True(t, v.loses(planned.Detect+slack), why)
	t.Logf("%s: noticed within %.1f s", why, time.Since(since).Seconds())
}

// A process is one on a host of the lab.
type process struct {
	in          io.WriteCloser
	out, stderr proctest.Buffer
	ended       chan struct{}
}

// startOn starts a process, below under unless that is empty.
func startOn(t *testing.T, host *netlab.Host, under []string, attributes *syscall.SysProcAttr, argv ...string) *process {
	t.Helper()
	return startOnIn(t, host, cgrouptest.New(t), under, attributes, argv...)
}

// startOnIn does so in a group.
func startOnIn(t *testing.T, host *netlab.Host, group *cgroup.Group, under []string, attributes *syscall.SysProcAttr, argv ...string) *process {
	t.Helper()
	if attributes == nil {
		attributes = new(syscall.SysProcAttr)
	}
	argv = append(under[:len(under):len(under)], argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "LC_ALL=C")
	cmd.Dir = "/"
	cmd.WaitDelay = 10 * time.Second
	attributes.UseCgroupFD, attributes.CgroupFD = true, int(cgrouptest.Directory(t, group).Fd())
	cmd.SysProcAttr = attributes
	p := &process{ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.stderr
	var err error
	p.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	if err := host.Start(cmd); err != nil {
		netlab.Skip(t, err)
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	return p
}

// says waits until the process has written a word.
func says(o *proctest.Buffer, word string, within time.Duration) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(o.String(), word) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (p *process) hears(word string, within time.Duration) bool { return says(&p.out, word, within) }

// ends reports whether the process has ended within a time.
func (p *process) ends(within time.Duration) bool {
	select {
	case <-p.ended:
		return true
	case <-time.After(within):
		return false
	}
}

// A static Go program with Go's defaults.
func TestRunGoAcrossFirewall(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{Established: forgets})
	ln := lab.Server.Listen(t, &net.ListenConfig{KeepAlive: -1}, "tcp4", 7)
	testVictim(t, lab, func(t *testing.T, under []string) victim {
		p := startOn(t, lab.Client, under, nil, testprogram, "read", ln.Addr().String())
		conn, err := ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return victim{
			say: func(t *testing.T, word string) {
				_, err := fmt.Fprintln(conn, word)
				require.NoError(t, err)
			},
			hears: p.hears, loses: p.ends, process: p,
		}
	})
}

// curl waits for the answer to a long poll.
func TestRunCurlAcrossFirewall(t *testing.T) {
	t.Parallel()
	curl := netlab.LookPath(t, "curl")
	lab := netlab.NewLab(t, netlab.Rules{Established: forgets})
	ln := lab.Server.Listen(t, &net.ListenConfig{KeepAlive: -1}, "tcp4", 80)
	polls := make(chan chan string)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		words := make(chan string, 4)
		polls <- words
		for {
			select {
			case word := <-words:
				fmt.Fprintln(w, word)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	testVictim(t, lab, func(t *testing.T, under []string) victim {
		p := startOn(t, lab.Client, under, nil, curl, "--silent", "--show-error", "--no-buffer", "http://"+ln.Addr().String())
		var words chan string
		select {
		case words = <-polls:
		case <-time.After(atMost):
			t.Fatal("no request: ", p.stderr.String())
		}
		return victim{
			say:   func(t *testing.T, word string) { words <- word },
			hears: p.hears, loses: p.ends, process: p,
		}
	})
}

// A subscriber of Redis, which asks for keepalive after 15 s by itself.
func TestRunRedisAcrossFirewall(t *testing.T) {
	t.Parallel()
	cli := netlab.LookPath(t, "redis-cli")
	lab := netlab.NewLab(t, netlab.Rules{Established: forgets})
	server := startOn(t, lab.Server, nil, nil, netlab.LookPath(t, "redis-server"), "--bind", lab.Server.IPv4, "--protected-mode", "no",
		"--save", "", "--dir", t.TempDir(), "--tcp-keepalive", "0")
	require.True(t, server.hears("Ready to accept connections", 3*time.Minute), server.out.String())
	channels := 0
	testVictim(t, lab, func(t *testing.T, under []string) victim {
		channels++
		channel := fmt.Sprint("channel", channels)
		p := startOn(t, lab.Client, under, nil, cli, "-h", lab.Server.IPv4, "subscribe", channel)
		require.True(t, p.hears(channel, atMost), p.stderr.String())
		return victim{
			say: func(t *testing.T, word string) {
				runOn(t, lab.Server, nil, cli, "-h", lab.Server.IPv4, "publish", channel, word)
			},
			hears: p.hears, loses: p.ends, process: p,
		}
	})
}

// A subscriber of MQTT, which pings after a minute of silence. It connects anew by
// itself, and says nothing about that.
func TestRunMosquittoAcrossFirewall(t *testing.T) {
	t.Parallel()
	sub, pub := netlab.LookPath(t, "mosquitto_sub"), netlab.LookPath(t, "mosquitto_pub")
	lab := netlab.NewLab(t, netlab.Rules{Established: forgets})
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	require.NoError(t, os.WriteFile(config, []byte("listener 1883 "+lab.Server.IPv4+"\nallow_anonymous true\nuser root\n"), 0o600))
	server := startOn(t, lab.Server, nil, nil, netlab.LookPath(t, "mosquitto"), "-c", config)
	require.True(t, says(&server.stderr, " running", 3*time.Minute), server.stderr.String())
	topics := 0
	testVictim(t, lab, func(t *testing.T, under []string) victim {
		topics++
		topic := fmt.Sprint("topic", topics)
		others := sendQueues(t, lab.Client)
		p := startOn(t, lab.Client, under, nil, sub, "-h", lab.Server.IPv4, "-t", topic)
		own := "" // the connection on which it heard something last
		return victim{
			say: func(t *testing.T, word string) { // retained, for one that connects anew
				runOn(t, lab.Server, nil, pub, "-h", lab.Server.IPv4, "-t", topic, "-r", "-m", word)
			},
			hears: func(word string, within time.Duration) bool {
				heard := p.hears(word, within)
				for local := range sendQueues(t, lab.Client) {
					if _, ok := others[local]; heard && !ok {
						own = local
					}
				}
				return heard
			},
			loses: func(within time.Duration) bool {
				for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
					if _, open := sendQueues(t, lab.Client)[own]; !open {
						return true
					}
					if time.Now().After(deadline) {
						return false
					}
				}
			},
			process: p, reconnects: true,
		}
	})
}

// runOn runs a program to its end.
func runOn(t *testing.T, host *netlab.Host, as *syscall.Credential, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	var out []byte
	var err error
	host.Do(func() { out, err = cmd.CombinedOutput() })
	require.NoError(t, err, "%s", out)
	return string(out)
}

// postgres is a database cluster in a folder of its own. PostgreSQL refuses to
// run as root.
type postgres struct {
	bin, dir string
	account  *syscall.Credential
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if len(found) == 0 {
		found = []string{netlab.LookPath(t, "initdb")}
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		netlab.Skip(t, err)
	}
	if os.Getuid() != 0 {
		netlab.Skip(t, errors.New("PostgreSQL needs a user other than root"))
	}
	dir, err := os.MkdirTemp("", "keepalive") // t.TempDir is below a folder that keeps others out
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(account.Gid)
	require.NoError(t, err)
	require.NoError(t, os.Chown(dir, uid, gid))
	return &postgres{filepath.Dir(found[len(found)-1]), dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (p *postgres) path(name string) string { return filepath.Join(p.bin, name) }

// serve starts a primary.
func (p *postgres) serve(t *testing.T, host *netlab.Host) {
	t.Helper()
	p.serveIn(t, host, cgrouptest.New(t))
}

// serveIn does so in a group.
func (p *postgres) serveIn(t *testing.T, host *netlab.Host, group *cgroup.Group) {
	t.Helper()
	data := filepath.Join(p.dir, "data")
	runOn(t, host, p.account, p.path("initdb"), "--pgdata", data, "--auth=trust", "--no-sync", "--locale=C")
	require.NoError(t, os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("local all,replication all trust\nhost all,replication all all trust\n"), 0o600))
	server := startOnIn(t, host, group, nil, &syscall.SysProcAttr{Credential: p.account}, p.path("postgres"), "-D", data, "-h", host.IPv4, "-k", p.dir, "-F",
		"-c", "wal_sender_timeout=0", "-c", "autovacuum=off", "-c", "dynamic_shared_memory_type=mmap", "-c", "tcp_keepalives_idle=7200")
	require.True(t, says(&server.stderr, "ready to accept connections", 3*time.Minute), server.stderr.String())
}

// query asks the server that has a socket in the folder.
func (p *postgres) query(t *testing.T, dir, sql string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.path("psql"), "-X", "-h", dir, "-U", "postgres", "-Atqc", sql)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

// psql listens. It shows what it has heard after each query.
func TestRunPsqlAcrossFirewall(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{Established: forgets})
	pg := newPostgres(t)
	pg.serve(t, lab.Server)
	channels := 0
	testVictim(t, lab, func(t *testing.T, under []string) victim {
		channels++
		channel := fmt.Sprint("channel", channels)
		p := startOn(t, lab.Client, under, nil, pg.path("psql"), "-X", "-h", lab.Server.IPv4, "-U", "postgres", "-At")
		ask := func(sql string) { io.WriteString(p.in, sql+";\n") }
		ask("LISTEN " + channel)
		require.True(t, p.hears("LISTEN", atMost), p.stderr.String())
		return victim{
			say: func(t *testing.T, word string) { pg.query(t, pg.dir, fmt.Sprintf("NOTIFY %s, '%s'", channel, word)) },
			hears: func(word string, within time.Duration) bool {
				ask("SELECT 1")
				return p.hears(word, within)
			},
			// It does not look at the connection until it is asked for
			// something. Then it knows at once.
			loses: func(within time.Duration) bool {
				time.Sleep(within - slack)
				ask("SELECT 1")
				return says(&p.stderr, "connection to server was lost", slack)
			},
			process: p,
		}
	})
}

// A replica, whose primary has nothing to replicate. The heartbeats of both are
// off.
func TestRunReplicaAcrossFirewall(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{Established: forgets})
	pg := newPostgres(t)
	pg.serve(t, lab.Server)
	pg.query(t, pg.dir, "CREATE TABLE journal (entry text)")
	replicas := 0
	testVictim(t, lab, func(t *testing.T, under []string) victim {
		replicas++
		name := fmt.Sprint("replica", replicas)
		dir := filepath.Join(pg.dir, name)
		// Not across the firewall, which might forget one of the connections.
		runOn(t, lab.Server, pg.account, pg.path("pg_basebackup"), "-D", dir, "-h", pg.dir, "--no-sync", "-c", "fast", "-R")
		p := startReplica(t, lab.Client, pg, under, dir, "host="+lab.Server.IPv4+" user=postgres application_name="+name)
		require.True(t, says(&p.stderr, "started streaming WAL", 3*time.Minute), p.stderr.String())
		lost := 0
		return victim{
			say: func(t *testing.T, word string) {
				pg.query(t, pg.dir, "INSERT INTO journal VALUES ('"+word+"')")
			},
			// It has the word, and the primary has heard so.
			hears: func(word string, within time.Duration) bool {
				for deadline := time.Now().Add(within); ; {
					if pg.query(t, dir, "SELECT count(*) FROM journal WHERE entry = '"+word+"'") != "0" &&
						pg.query(t, pg.dir, "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn = pg_current_wal_lsn() AND application_name = '"+name+"'") != "0" {
						return true
					}
					if time.Now().After(deadline) {
						return false
					}
				}
			},
			loses: func(within time.Duration) bool {
				const notice = "could not receive data from WAL stream: could not receive data from server: Connection timed out"
				for deadline := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
					if n := strings.Count(p.stderr.String(), notice); n > lost {
						lost = n
						return true
					}
					if time.Now().After(deadline) {
						return false
					}
				}
			},
			reconnects: true,
			process:    p,
			// What the primary writes to its log by itself, it sends.
			spoken: func() string { return pg.query(t, pg.dir, "SELECT pg_current_wal_insert_lsn()") },
		}
	})
}

func startReplica(t *testing.T, host *netlab.Host, pg *postgres, under []string, dir, primary string) *process {
	t.Helper()
	return startReplicaIn(t, host, cgrouptest.New(t), pg, under, dir, primary)
}

// startReplicaIn does so in a group.
func startReplicaIn(t *testing.T, host *netlab.Host, group *cgroup.Group, pg *postgres, under []string, dir, primary string) *process {
	t.Helper()
	var attributes syscall.SysProcAttr
	if under == nil {
		attributes.Credential = pg.account
	} else {
		under = append(append(under[:2:2], "--user=postgres"), under[2:]...)
	}
	return startOnIn(t, host, group, under, &attributes, pg.path("postgres"), "-D", dir, "-h", "", "-k", dir, "-F", "-c", "primary_conninfo="+primary,
		"-c", "wal_receiver_timeout=0", "-c", "wal_receiver_status_interval=0", "-c", "wal_retrieve_retry_interval=1s",
		"-c", "dynamic_shared_memory_type=mmap")
}
