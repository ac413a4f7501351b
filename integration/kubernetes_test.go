package integration_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decodeStrictly decodes the objects of a manifest. A field that the types of
// Kubernetes lack is an error.
func decodeStrictly(t *testing.T, file string) (objects []runtime.Object) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	scheme := runtime.NewScheme()
	require.NoError(t, corev1.AddToScheme(scheme))
	require.NoError(t, appsv1.AddToScheme(scheme))
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	for {
		document := make([]byte, len(text)+1)
		n, err := documents.Read(document)
		if err == io.EOF {
			return objects
		}
		require.NoError(t, err)
		object, _, err := decoder.Decode(document[:n], nil, nil)
		require.NoError(t, err, "%s", document[:n])
		objects = append(objects, object)
	}
}

// The DaemonSet of examples/apply has what docs/apply.md says: the capabilities that
// keepalive apply needs and no others, and rules that tighten.
func TestApplyDaemonSet(t *testing.T) {
	t.Parallel()
	objects := decodeStrictly(t, "../examples/apply/kubernetes.yaml")
	require.Len(t, objects, 2)
	rules := objects[0].(*corev1.ConfigMap)
	require.Contains(t, rules.Data, "rules.yaml") // which TestApplyExamples of cmd/keepalive reads
	daemon := objects[1].(*appsv1.DaemonSet)
	assert.Equal(t, rules.Namespace, daemon.Namespace)
	pod := daemon.Spec.Template
	assert.Equal(t, daemon.Spec.Selector.MatchLabels, pod.Labels)
	assert.True(t, pod.Spec.HostPID)
	require.Len(t, pod.Spec.Containers, 1)
	container := pod.Spec.Containers[0]
	capabilities := container.SecurityContext.Capabilities
	assert.Equal(t, []corev1.Capability{"ALL"}, capabilities.Drop)
	assert.Equal(t, []corev1.Capability{"BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE"}, capabilities.Add)
	assert.Nil(t, container.SecurityContext.Privileged)
	assert.False(t, *container.SecurityContext.AllowPrivilegeEscalation)
	volumes := make(map[string]corev1.VolumeSource)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	mounts := make(map[string]string)
	for _, m := range container.VolumeMounts {
		require.Contains(t, volumes, m.Name)
		mounts[m.MountPath] = m.Name
	}
	assert.Equal(t, rules.Name, volumes[mounts["/etc/keepalive"]].ConfigMap.Name)
	assert.Equal(t, "/sys/fs/cgroup", volumes[mounts["/host/cgroup"]].HostPath.Path)
	assert.Equal(t, "/sys/fs/bpf", volumes[mounts["/sys/fs/bpf"]].HostPath.Path)
	assert.Equal(t, []string{"apply", "--pin", "--cgroup-root=/host/cgroup", "/etc/keepalive"}, container.Args)
}
