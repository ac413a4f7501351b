package kernelfields

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A struct as a compiler could lay it out:
//
//	struct outer {
//		u64 first;
//		union {
//			u32 word;
//			struct { u16 low; u16 high; };
//		};
//		struct inner { u8 byte; } in;
//		u8 bits : 3;
//		u8 array[3];
//	};
func testFinder(t testing.TB) *Finder {
	t.Helper()
	u8, u16 := &btf.Int{Name: "u8", Size: 1}, &btf.Int{Name: "u16", Size: 2}
	u32, u64 := &btf.Typedef{Name: "u32", Type: &btf.Int{Size: 4}}, &btf.Int{Name: "u64", Size: 8}
	inner := &btf.Struct{Name: "inner", Size: 1, Members: []btf.Member{{Name: "byte", Type: u8}}}
	halves := &btf.Struct{Size: 4, Members: []btf.Member{{Name: "low", Type: u16}, {Name: "high", Type: u16, Offset: 16}}}
	union := &btf.Union{Size: 4, Members: []btf.Member{{Name: "word", Type: u32}, {Type: halves}}}
	outer := &btf.Struct{Name: "outer", Size: 17, Members: []btf.Member{
		{Name: "first", Type: u64},
		{Type: union, Offset: 64},
		{Name: "in", Type: &btf.Typedef{Name: "inner_t", Type: inner}, Offset: 96},
		{Name: "bits", Type: u8, Offset: 104, BitfieldSize: 3},
		{Name: "array", Type: &btf.Array{Type: u8, Index: u16, Nelems: 3}, Offset: 112},
	}}
	builder, err := btf.NewBuilder([]btf.Type{outer}, nil)
	require.NoError(t, err)
	file, err := builder.Marshal(nil, nil)
	require.NoError(t, err)
	types, err := readTypes(bytes.NewReader(file))
	require.NoError(t, err)
	t.Cleanup(func() { types.close() })
	return &Finder{types: types, structs: make(map[string]uint32), read: make(map[uint32][]member)}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	f := testFinder(t)
	for _, test := range []struct {
		path   string
		offset int16
		size   asm.Size
	}{
		{"first", 0, asm.DWord},
		{"word", 8, asm.Word},
		{"high", 10, asm.Half},
		{"in.byte", 12, asm.Byte},
	} {
		assert.Equal(t, asm.LoadMem(asm.R1, asm.R2, test.offset, test.size), f.Load(asm.R1, asm.R2, "outer", test.path), test.path)
		assert.Equal(t, test.offset, f.Offset("outer", test.path))
		assert.True(t, f.Has("outer", test.path))
	}
	assert.Equal(t, int16(14), f.Offset("outer", "array"))
	assert.NoError(t, f.Err())
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"missing":    "struct outer has no field missing of missing",
		"in.missing": "struct outer has no field missing of in.missing",
		"first.byte": "struct outer has no field byte of first.byte",
		"bits":       "outer.bits is a bit field",
		"array":      "outer.array has 3 bytes, which no register holds",
	} {
		f := testFinder(t)
		f.Load(asm.R1, asm.R2, "outer", path)
		assert.EqualError(t, f.Err(), want)
		f.Load(asm.R1, asm.R2, "outer", "another")
		assert.EqualError(t, f.Err(), want, "the first error stays")
	}
	assert.False(t, testFinder(t).Has("outer", "missing"))
}

// What the kernel that runs has.
func TestKernel(t *testing.T) {
	t.Parallel()
	f, err := New()
	if err != nil {
		netlab.Skip(t, err)
	}
	defer f.Close()
	assert.NotZero(t, f.Function("bpf_iter_task_file"))
	assert.Equal(t, int16(0), f.Offset("tcp_sock", "inet_conn"))
	assert.Equal(t, int16(8), f.Offset("bpf_iter__task_file", "task"))
	assert.Equal(t, int32(1), f.Enum("sock_flags", "SOCK_DONE"))
	assert.NoError(t, f.Err())
	assert.False(t, f.Has("tcp_sock", "none"))
	assert.False(t, f.Has("no_such_struct", "none"))
	f.Enum("sock_flags", "SOCK_NONE")
	assert.ErrorContains(t, f.Err(), "enum sock_flags has no SOCK_NONE")
}

// The offsets are those that package btf finds.
func TestAgreesWithPackageBTF(t *testing.T) {
	t.Parallel()
	f, err := New()
	if err != nil {
		netlab.Skip(t, err)
	}
	defer f.Close()
	spec, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	for _, name := range []string{"tcp_sock", "inet_connection_sock", "sock", "sock_common", "task_struct", "file", "net"} {
		var want *btf.Struct
		require.NoError(t, spec.TypeByName(name, &want))
		got, err := f.find(name)
		require.NoError(t, err)
		require.Len(t, got, len(want.Members), name)
		for i, m := range want.Members {
			assert.Equal(t, m.Name, got[i].name)
			assert.Equal(t, uint32(m.Offset), got[i].offset, "%s.%s", name, m.Name)
			assert.Equal(t, uint8(m.BitfieldSize), got[i].bits, "%s.%s", name, m.Name)
			size, err := btf.Sizeof(m.Type)
			require.NoError(t, err)
			bytes, err := f.types.size(got[i].typ)
			require.NoError(t, err)
			assert.Equal(t, uint32(size), bytes, "%s.%s", name, m.Name)
		}
	}
	var function *btf.Func
	require.NoError(t, spec.TypeByName("bpf_iter_task_file", &function))
	id, err := spec.TypeID(function)
	require.NoError(t, err)
	assert.Equal(t, uint32(id), f.Function("bpf_iter_task_file"))
	assert.NoError(t, f.Err())
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		f, err := New()
		if err != nil {
			netlab.Skip(b, err)
		}
		f.Offset("tcp_sock", "inet_conn.icsk_ack.lrcvtime")
		f.Close()
	}
}
