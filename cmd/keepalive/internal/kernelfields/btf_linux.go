package kernelfields

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// types are the types of the kernel, read from a BTF file:
// https://docs.kernel.org/bpf/btf.html. Package btf of cilium/ebpf keeps the whole
// file in memory with an index of it, which is more than a list of 50,000 sockets
// takes. This keeps where each type is, and reads few of them.
type types struct {
	file    io.ReaderAt
	start   int64 // of the types in the file
	strings []byte

	// Of each type, by its id less one.
	offsets, names []uint32
	kinds          []kind
}

// A kind is BTF_INFO_KIND of a type.
type kind uint8

const (
	kindInt      kind = 1
	kindPointer  kind = 2
	kindArray    kind = 3
	kindStruct   kind = 4
	kindUnion    kind = 5
	kindEnum     kind = 6
	kindTypedef  kind = 8
	kindVolatile kind = 9
	kindConst    kind = 10
	kindRestrict kind = 11
	kindFunction kind = 12
	kindTypeTag  kind = 18
	kindEnum64   kind = 19

	typeSize   = 12 // struct btf_type
	memberSize = 12 // struct btf_member
	enumSize   = 8  // struct btf_enum
)

// trailing returns how many bytes follow a struct btf_type.
func (k kind) trailing(length int) (int, error) {
	switch k {
	case kindInt, 14, 17: // and BTF_KIND_VAR and BTF_KIND_DECL_TAG
		return 4, nil
	case kindArray:
		return 12, nil
	case kindStruct, kindUnion, 15, kindEnum64: // and BTF_KIND_DATASEC
		return length * memberSize, nil
	case kindEnum, 13: // and BTF_KIND_FUNC_PROTO
		return length * enumSize, nil
	case kindPointer, 7, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunction, 16, kindTypeTag: // and BTF_KIND_FWD and BTF_KIND_FLOAT
		return 0, nil
	}
	return 0, fmt.Errorf("BTF has an unknown kind %d of type", k)
}

// readTypes reads where the types are.
func readTypes(file io.ReaderAt) (*types, error) {
	const headerSize = 24
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); err != nil {
		return nil, err
	}
	const magic = 0xeB9F
	if binary.NativeEndian.Uint16(header) != magic {
		return nil, errors.New("the file is no BTF of this machine")
	}
	word := func(at int) int64 { return int64(binary.NativeEndian.Uint32(header[at:])) }
	size := word(4)
	t := &types{file: file, start: size + word(8)}
	var err error
	// 2 MB that the heap would keep when they are no longer needed.
	if t.strings, err = unix.Mmap(-1, 0, max(1, int(word(20))), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	_, err = file.ReadAt(t.strings[:word(20)], size+word(16))
	if err == nil || err == io.EOF {
		err = t.scan(word(12))
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *types) close() error { return unix.Munmap(t.strings) }

// scan goes through all types, which have that size together.
func (t *types) scan(size int64) error {
	r := bufio.NewReaderSize(io.NewSectionReader(t.file, t.start, size), 64<<10)
	const usual = 24 // bytes of a type
	t.offsets, t.names, t.kinds = make([]uint32, 0, size/usual), make([]uint32, 0, size/usual), make([]kind, 0, size/usual)
	for at := int64(0); at < size; {
		head, err := r.Peek(typeSize)
		if err != nil {
			return err
		}
		info := binary.NativeEndian.Uint32(head[4:])
		k := kind(info >> 24 & 0x1f)
		t.offsets = append(t.offsets, uint32(at))
		t.names = append(t.names, binary.NativeEndian.Uint32(head))
		t.kinds = append(t.kinds, k)
		more, err := k.trailing(int(info & 0xffff))
		if err != nil {
			return err
		}
		if _, err := r.Discard(typeSize + more); err != nil {
			return err
		}
		at += int64(typeSize + more)
	}
	return nil
}

// An aType is a type that was read.
type aType struct {
	kind     kind
	length   int
	bitField bool   // whether offsets have the sizes of bit fields
	value    uint32 // its size, or the id of another type
	trailing []byte
}

// read reads a type. The id 0 is void.
func (t *types) read(id uint32) (aType, error) {
	if id == 0 || int(id) > len(t.offsets) {
		return aType{}, errors.New("BTF has no type " + strconv.FormatUint(uint64(id), 10))
	}
	at := t.start + int64(t.offsets[id-1])
	head := make([]byte, typeSize)
	if _, err := t.file.ReadAt(head, at); err != nil {
		return aType{}, err
	}
	info := binary.NativeEndian.Uint32(head[4:])
	a := aType{kind: t.kinds[id-1], length: int(info & 0xffff), bitField: info>>31 != 0, value: binary.NativeEndian.Uint32(head[8:])}
	more, err := a.kind.trailing(a.length)
	if err != nil {
		return aType{}, err
	}
	a.trailing = make([]byte, more)
	if more > 0 {
		_, err = t.file.ReadAt(a.trailing, at+typeSize)
	}
	return a, err
}

// underlying reads a type without names and qualifiers.
func (t *types) underlying(id uint32) (aType, error) {
	for {
		a, err := t.read(id)
		switch a.kind {
		case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
			id = a.value
		default:
			return a, err
		}
		if err != nil {
			return a, err
		}
	}
}

// find returns the id of a type.
func (t *types) find(k kind, name string) (id uint32, ok bool) {
	at := bytes.Index(t.strings, []byte("\x00"+name+"\x00"))
	if at < 0 {
		return 0, false
	}
	for i, offset := range t.names {
		if offset == uint32(at)+1 && t.kinds[i] == k {
			return uint32(i) + 1, true
		}
	}
	return 0, false
}

func (t *types) name(offset uint32) string {
	rest := t.strings[min(int(offset), len(t.strings)):]
	end := bytes.IndexByte(rest, 0)
	return string(rest[:max(end, 0)])
}

// size returns how many bytes a value has.
func (t *types) size(id uint32) (uint32, error) {
	a, err := t.underlying(id)
	if err != nil {
		return 0, err
	}
	switch a.kind {
	case kindPointer:
		return strconv.IntSize / 8, nil
	case kindArray:
		element, err := t.size(binary.NativeEndian.Uint32(a.trailing))
		return element * binary.NativeEndian.Uint32(a.trailing[8:]), err
	}
	return a.value, nil
}

// A member is a field of a struct or union.
type member struct {
	name   string
	typ    uint32
	offset uint32 // in bits
	bits   uint8  // of a bit field, 0 for others
}

// members returns the members of a struct or union, and none for other types.
func (t *types) members(a aType) []member {
	if a.kind != kindStruct && a.kind != kindUnion {
		return nil
	}
	list := make([]member, a.length)
	for i := range list {
		raw := a.trailing[i*memberSize:]
		m := member{name: t.name(binary.NativeEndian.Uint32(raw)), typ: binary.NativeEndian.Uint32(raw[4:]), offset: binary.NativeEndian.Uint32(raw[8:])}
		if a.bitField {
			m.offset, m.bits = m.offset&0xffffff, uint8(m.offset>>24)
		}
		list[i] = m
	}
	return list
}
