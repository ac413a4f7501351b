package plan_test

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	cluster3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// A message can check the rules of its fields.
type message interface {
	proto.Message
	ValidateAll() error
}

// decode reads YAML into a message, and wants to know every field.
func decode(text string, m proto.Message) error {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return err
	}
	err = protojson.Unmarshal(asJSON, m)
	if v, ok := m.(message); ok {
		err = errors.Join(err, v.ValidateAll())
	}
	return err
}

// indented returns the settings of a program as a part of YAML.
func indented(t *testing.T, p plan, program, by string) string {
	t.Helper()
	return by + strings.Join(p.settings(t, program), "\n"+by) + "\n"
}

// The programs that are not run here would read what is printed.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for d, p := range plans(t) {
		for program, lines := range p {
			want := map[string]string{"Envoy": "decoded by its Go types", "Istio": "decoded by its Go types", "Compose": "decoded by its Go types",
				"Kubernetes": "decoded by its Go types", "Docker": "from its documentation"}[program]
			assert.Equal(t, want, p.comment(program, "# not run: "), lines)
		}
		sysctls := map[string]string{"net.ipv4.tcp_keepalive_time": "7", "net.ipv4.tcp_keepalive_intvl": "1", "net.ipv4.tcp_keepalive_probes": "3"}
		options := []int64{1, 7, 1, 3} // SO_KEEPALIVE, Idle, Interval, Count
		if d.detect == 45*time.Second {
			sysctls["net.ipv4.tcp_keepalive_time"], sysctls["net.ipv4.tcp_keepalive_intvl"] = "22", "6"
			options = []int64{1, 22, 6, 3}
		}
		if d.unacked {
			options = append(options, map[time.Duration]int64{12 * time.Second: 10000, 45 * time.Second: 40000}[d.detect])
		}

		listener := new(listener3.Listener)
		require.NoError(t, decode("name: x\naddress: {socket_address: {address: 0.0.0.0, port_value: 1}}\n"+indented(t, p, "Envoy", ""), listener))
		assert.Equal(t, options, values(listener.SocketOptions), d)
		cluster := new(cluster3.Cluster)
		require.NoError(t, decode("name: x\nupstream_bind_config:\n"+indented(t, p, "Envoy", "  "), cluster))
		assert.Equal(t, options, values(cluster.UpstreamBindConfig.SocketOptions), d)

		rule := new(istio.DestinationRule)
		require.NoError(t, decode("host: x\n"+indented(t, p, "Istio", ""), rule))
		keepalive := rule.TrafficPolicy.ConnectionPool.Tcp.TcpKeepalive
		assert.Equal(t, options[1:4], []int64{keepalive.Time.Seconds, keepalive.Interval.Seconds, int64(keepalive.Probes)}, d)

		var pod corev1.Pod
		require.NoError(t, yaml.UnmarshalStrict([]byte("spec:\n"+indented(t, p, "Kubernetes", "  ")), &pod))
		safe := make(map[string]string)
		for _, s := range pod.Spec.SecurityContext.Sysctls {
			safe[s.Name] = s.Value
		}
		assert.Equal(t, sysctls, safe, "tcp_retries2 is not safe")
		unsafe := p.comment("Kubernetes", "# - ")
		assert.Equal(t, d.unacked, unsafe != "")
		if d.unacked {
			sysctls["net.ipv4.tcp_retries2"] = map[time.Duration]string{12 * time.Second: "3", 45 * time.Second: "5"}[d.detect]
			var s corev1.Sysctl
			require.NoError(t, yaml.UnmarshalStrict([]byte(unsafe), &s))
			assert.Equal(t, corev1.Sysctl{Name: "net.ipv4.tcp_retries2", Value: sysctls["net.ipv4.tcp_retries2"]}, s)
		}

		project, err := loadCompose(t, "services:\n  x:\n    image: x\n"+indented(t, p, "Compose", "    "))
		require.NoError(t, err)
		assert.Equal(t, compose.Mapping(sysctls), project.Services["x"].Sysctls, d)

		docker := make(map[string]string)
		for flag := range strings.SplitSeq(p.settings(t, "Docker")[0], " --sysctl ") {
			if name, value, found := strings.Cut(flag, "="); found {
				docker[name] = value
			}
		}
		assert.Equal(t, sysctls, docker, d)
	}
}

// A field that does not exist is noticed.
func TestSchemasAreStrict(t *testing.T) {
	t.Parallel()
	assert.Error(t, decode("name: x\naddress: {socket_address: {address: 0.0.0.0, port_value: 1}}\nsocket_options:\n- {level: 1, name: 9, int_valu: 1}\n", new(listener3.Listener)))
	assert.Error(t, decode("name: x\nupstream_bind_config:\n  socket_option: []\n", new(cluster3.Cluster)))
	assert.Error(t, decode("host: x\ntrafficPolicy:\n  connectionPool:\n    tcp:\n      tcpKeepalives: {}\n", new(istio.DestinationRule)))
	assert.Error(t, yaml.UnmarshalStrict([]byte("spec:\n  securityContext:\n    sysctl: []\n"), new(corev1.Pod)))
	_, err := loadCompose(t, "services:\n  x:\n    image: x\n    sysctl: {}\n")
	assert.Error(t, err)
}

// docs/plan.md names the versions that decode.
func TestVersionsInTheDocs(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/plan.md")
	require.NoError(t, err)
	found := regexp.MustCompile("`([a-z][^` ]+/[^` ]+) (v[^` ]+)`").FindAllSubmatch(doc, -1)
	require.Len(t, found, 4)
	for _, f := range found {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", string(f[1])).Output()
		require.NoError(t, err, "%s", f[1])
		assert.Equal(t, strings.TrimSpace(string(out)), string(f[2]), "%s", f[1])
	}
}

func values(options []*core3.SocketOption) (all []int64) {
	for _, o := range options {
		all = append(all, o.GetIntValue())
	}
	return all
}

func loadCompose(t *testing.T, text string) (*compose.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), compose.ConfigDetails{
		WorkingDir:  t.TempDir(),
		ConfigFiles: []compose.ConfigFile{{Filename: "compose.yaml", Content: []byte(text)}},
	}, func(o *loader.Options) { o.SetProjectName("x", true) })
}
