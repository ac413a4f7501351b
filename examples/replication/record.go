package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The protocol. The replica confirms that it holds the records up to N and asks
// for those that follow: eight bytes, N. The primary answers with those that it
// has, at most batch of them: four bytes say how many, then comes each record as
//
//	number    8 bytes, from 1 without gaps
//	length    4 bytes, that of the payload
//	payload
//	CRC-32C   4 bytes, over all of the above
//
// with integers in network byte order. While the primary has nothing to send it
// leaves the question open, and the connection is idle.
const (
	batch      = 100
	maxPayload = 1 << 16
	headerSize = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type record struct {
	number   uint64
	payload  []byte
	checksum uint32
}

// newRecord makes up the record of that number.
func newRecord(number uint64) record {
	r := record{number: number, payload: fmt.Appendf(nil, "account %d: balance %d.00", number%97, number*number)}
	r.checksum = r.sum()
	return r
}

func (r record) sum() uint32 {
	return crc32.Checksum(r.appendBody(nil), castagnoli)
}

func (r record) appendBody(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.payload)))
	return append(b, r.payload...)
}

func writeRequest(w io.Writer, after uint64) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, after))
	return err
}

// readRequest returns io.EOF where the replica has closed the connection
// instead of asking.
func readRequest(r io.Reader) (after uint64, err error) {
	var b [8]byte
	_, err = io.ReadFull(r, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

func writeAnswer(w io.Writer, records []record) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(records)))
	for _, r := range records {
		b = binary.BigEndian.AppendUint32(r.appendBody(b), r.checksum)
	}
	_, err := w.Write(b)
	return err
}

// readAnswer hands over one record after the other. It does not judge them.
func readAnswer(r io.Reader, add func(record) error) error {
	n, err := readUint32(r)
	if err != nil {
		return err
	}
	for range n {
		rec, err := readRecord(r)
		if err != nil {
			return err
		}
		if err := add(rec); err != nil {
			return err
		}
	}
	return nil
}

func readRecord(r io.Reader) (record, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return record{}, err
	}
	rec := record{number: binary.BigEndian.Uint64(header[:])}
	// The checksum has not been seen yet: no allocation on the length's word alone.
	length := binary.BigEndian.Uint32(header[8:])
	if length > maxPayload {
		return record{}, fmt.Errorf("record %d has %d bytes, want at most %d", rec.number, length, maxPayload)
	}
	rec.payload = make([]byte, length)
	if _, err := io.ReadFull(r, rec.payload); err != nil {
		return record{}, err
	}
	var err error
	rec.checksum, err = readUint32(r)
	return rec, err
}

func readUint32(r io.Reader) (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(r, b[:])
	return binary.BigEndian.Uint32(b[:]), err
}
