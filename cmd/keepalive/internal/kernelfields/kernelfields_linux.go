// Package kernelfields finds fields of the kernel's structs by name, in the type
// information (BTF) that the running kernel has of itself, and emits the eBPF
// instructions that load them. Nothing depends on the release of the kernel: a
// field that it lacks is an error.
package kernelfields

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/asm"
)

// Finder finds fields. It keeps the first error, so that the instructions of a
// program can be written one after another and [Finder.Err] asked once. The zero
// Finder is not usable.
type Finder struct {
	file    *os.File
	types   *types
	structs map[string]uint32 // ids
	read    map[uint32][]member
	err     error
}

// New returns a Finder for the running kernel. Close it. The error matches
// [os.ErrNotExist] where the kernel has no BTF.
func New() (*Finder, error) {
	file, err := os.Open("/sys/kernel/btf/vmlinux")
	if err != nil {
		return nil, fmt.Errorf("no type information of the kernel (BTF): %w", err)
	}
	types, err := readTypes(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("type information of the kernel (BTF): %w", err)
	}
	return &Finder{file: file, types: types, structs: make(map[string]uint32), read: make(map[uint32][]member)}, nil
}

// Close releases what the Finder holds.
func (f *Finder) Close() error { return errors.Join(f.types.close(), f.file.Close()) }

// Err returns the first error of the other methods but Has, or nil.
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
	m, err := f.follow(structure, path)
	if err != nil {
		f.fail(err)
		return 0
	}
	return f.check(structure, path, m)
}

// Has reports whether the kernel has a field.
func (f *Finder) Has(structure, path string) bool {
	_, err := f.follow(structure, path)
	return err == nil
}

// Enum returns the value of a constant.
func (f *Finder) Enum(enum, constant string) int32 {
	id, ok := f.types.find(kindEnum, enum)
	if !ok {
		f.fail(fmt.Errorf("the kernel has no enum %s", enum))
		return 0
	}
	e, err := f.types.read(id)
	if err != nil {
		f.fail(err)
	}
	for i := range e.length {
		raw := e.trailing[i*enumSize:]
		if f.types.name(binary.NativeEndian.Uint32(raw)) == constant {
			return int32(binary.NativeEndian.Uint32(raw[4:]))
		}
	}
	f.fail(fmt.Errorf("enum %s has no %s", enum, constant))
	return 0
}

// Function returns the id of a function, which a program is attached to.
func (f *Finder) Function(name string) uint32 {
	id, ok := f.types.find(kindFunction, name)
	if !ok {
		f.fail(fmt.Errorf("the kernel has no function %s", name))
	}
	return id
}

// Tracepoint returns the id of the type of a tracepoint, which a program is attached
// to.
func (f *Finder) Tracepoint(name string) uint32 {
	id, ok := f.types.find(kindTypedef, "btf_trace_"+name)
	if !ok {
		f.fail(fmt.Errorf("the kernel has no tracepoint %s", name))
	}
	return id
}

func (f *Finder) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// scalar returns where a number or a pointer lies.
func (f *Finder) scalar(structure, path string) (offset int16, size asm.Size) {
	m, err := f.follow(structure, path)
	if err != nil {
		f.fail(err)
		return 0, asm.DWord
	}
	bytes, err := f.types.size(m.typ)
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
	return f.check(structure, path, m), size
}

// check returns the offset, unless an instruction can't hold it or it is none of a
// byte.
func (f *Finder) check(structure, path string, m member) int16 {
	bytes := m.offset / 8
	switch {
	case m.bits != 0 || m.offset%8 != 0:
		f.fail(fmt.Errorf("%s.%s is a bit field", structure, path))
	case bytes > 1<<15-1:
		f.fail(fmt.Errorf("%s.%s is %d bytes from the start", structure, path, bytes))
	}
	return int16(bytes)
}

// follow returns the field at the end of a path, with its offset from the start of
// the first struct.
func (f *Finder) follow(structure, path string) (found member, err error) {
	in, err := f.find(structure)
	if err != nil {
		return found, err
	}
	offset := uint32(0)
	for i, name := range strings.Split(path, ".") {
		if i > 0 {
			if in, err = f.membersOf(found.typ); err != nil {
				return found, err
			}
		}
		var ok bool
		if found, ok = f.named(in, name); !ok {
			return found, fmt.Errorf("struct %s has no field %s of %s", structure, name, path)
		}
		offset += found.offset
	}
	found.offset = offset
	return found, nil
}

func (f *Finder) find(structure string) ([]member, error) {
	id, ok := f.structs[structure]
	if !ok {
		if id, ok = f.types.find(kindStruct, structure); !ok {
			return nil, fmt.Errorf("the kernel has no struct %s", structure)
		}
		f.structs[structure] = id
	}
	return f.membersOf(id)
}

func (f *Finder) membersOf(id uint32) ([]member, error) {
	if members, ok := f.read[id]; ok {
		return members, nil
	}
	a, err := f.types.underlying(id)
	members := f.types.members(a)
	f.read[id] = members
	return members, err
}

// named returns the member of a struct or union, or of one without a name in it.
func (f *Finder) named(in []member, name string) (member, bool) {
	for _, m := range in {
		if m.name == name {
			return m, true
		}
		if m.name != "" {
			continue
		}
		inner, _ := f.membersOf(m.typ) // none where it can't be read
		if found, ok := f.named(inner, name); ok {
			found.offset += m.offset
			return found, true
		}
	}
	return member{}, false
}
