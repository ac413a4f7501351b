// Package kernelfields finds fields of the kernel's structs by name, in the type
// information (BTF) that the running kernel has of itself, and emits the eBPF
// instructions that load them. Nothing depends on the release of the kernel: a
// field that it lacks is an error.
package kernelfields

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Finder finds fields. It keeps the first error, so that the instructions of a
// program can be written one after another and [Finder.Err] asked once. The zero
// Finder is not usable.
type Finder struct {
	spec    *btf.Spec
	structs map[string]*btf.Struct
	err     error
}

// New returns a Finder for the running kernel. The error matches
// [github.com/cilium/ebpf.ErrNotSupported] where the kernel has no BTF.
func New() (*Finder, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("no type information of the kernel (BTF): %w", err)
	}
	return &Finder{spec: spec, structs: make(map[string]*btf.Struct)}, nil
}

// Err returns the first error of Load, Offset and Enum, or nil.
func (f *Finder) Err() error { return f.err }

// Load returns the instruction that loads a field into a register. Base holds the
// address of the struct. The path leads through structs that lie in it, with a dot
// between names: "inet_conn.icsk_ack.lrcvtime". Structs and unions without a name
// are left out of it. The value of a field that is shorter than the register is
// extended with zeros.
func (f *Finder) Load(to, base asm.Register, structure, path string) asm.Instruction {
	offset, size := f.scalar(structure, path)
	return asm.LoadMem(to, base, offset, size)
}

// Offset returns how many bytes a field is from the start of its struct.
func (f *Finder) Offset(structure, path string) int16 {
	member, offset := f.member(structure, path)
	if member == nil {
		return 0
	}
	return f.check(structure, path, *member, offset)
}

// Has reports whether the kernel has a field.
func (f *Finder) Has(structure, path string) bool {
	s, err := f.find(structure)
	if err != nil {
		return false
	}
	_, _, err = follow(s, path)
	return err == nil
}

// Enum returns the value of a constant.
func (f *Finder) Enum(enum, constant string) int32 {
	var e *btf.Enum
	if err := f.spec.TypeByName(enum, &e); err != nil {
		f.fail(fmt.Errorf("enum %s: %w", enum, err))
		return 0
	}
	for _, value := range e.Values {
		if value.Name == constant {
			return int32(value.Value)
		}
	}
	f.fail(fmt.Errorf("enum %s has no %s", enum, constant))
	return 0
}

func (f *Finder) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// scalar returns where a number or a pointer lies.
func (f *Finder) scalar(structure, path string) (offset int16, size asm.Size) {
	member, at := f.member(structure, path)
	if member == nil {
		return 0, asm.DWord
	}
	offset = f.check(structure, path, *member, at)
	bytes, err := btf.Sizeof(member.Type)
	if err != nil {
		f.fail(fmt.Errorf("%s.%s: %w", structure, path, err))
	}
	switch bytes {
	case 1:
		size = asm.Byte
	case 2:
		size = asm.Half
	case 4:
		size = asm.Word
	case 8:
		size = asm.DWord
	default:
		f.fail(fmt.Errorf("%s.%s has %d bytes, which no register holds", structure, path, bytes))
	}
	return offset, size
}

// check returns the offset, unless an instruction can't hold it or it is none of a
// byte.
func (f *Finder) check(structure, path string, member btf.Member, at btf.Bits) int16 {
	bytes := at.Bytes()
	switch {
	case member.BitfieldSize != 0:
		f.fail(fmt.Errorf("%s.%s is a bit field", structure, path))
	case uint32(int16(bytes)) != bytes:
		f.fail(fmt.Errorf("%s.%s is %d bytes from the start", structure, path, bytes))
	}
	return int16(bytes)
}

// member returns a field, or nil after an error.
func (f *Finder) member(structure, path string) (*btf.Member, btf.Bits) {
	s, err := f.find(structure)
	if err != nil {
		f.fail(err)
		return nil, 0
	}
	member, offset, err := follow(s, path)
	if err != nil {
		f.fail(fmt.Errorf("struct %s: %w", structure, err))
		return nil, 0
	}
	return &member, offset
}

func (f *Finder) find(structure string) (*btf.Struct, error) {
	if s := f.structs[structure]; s != nil {
		return s, nil
	}
	var s *btf.Struct
	if err := f.spec.TypeByName(structure, &s); err != nil {
		return nil, fmt.Errorf("struct %s: %w", structure, err)
	}
	f.structs[structure] = s
	return s, nil
}

// follow returns the field at the end of a path, and how far it is from the start
// of the first struct.
func follow(in btf.Type, path string) (member btf.Member, offset btf.Bits, err error) {
	for name := range strings.SplitSeq(path, ".") {
		at, ok := named(in, name)
		if !ok {
			return member, 0, fmt.Errorf("no field %s of %s", name, path)
		}
		member = at
		offset += member.Offset
		in = btf.UnderlyingType(member.Type)
	}
	return member, offset, nil
}

// named returns the member of a struct or union, or of one without a name in it.
func named(in btf.Type, name string) (btf.Member, bool) {
	for _, member := range members(in) {
		if member.Name == name {
			return member, true
		}
		if member.Name != "" {
			continue
		}
		if inner, ok := named(btf.UnderlyingType(member.Type), name); ok {
			inner.Offset += member.Offset
			return inner, true
		}
	}
	return btf.Member{}, false
}

func members(in btf.Type) []btf.Member {
	switch t := in.(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}
