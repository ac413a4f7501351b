package main

import "fmt"

// journal is what one side holds: records from number 1 on.
type journal []record

func newJournal(records uint64) journal {
	j := make(journal, 0, records)
	for number := range records {
		j = append(j, newRecord(number+1))
	}
	return j
}

// last returns the number of the last record, 0 where there is none.
func (j journal) last() uint64 {
	return uint64(len(j))
}

// after returns at most limit of the records that follow that number.
func (j journal) after(number uint64, limit int) []record {
	rest := j[min(number, j.last()):]
	return rest[:min(limit, len(rest))]
}

// add takes the next record and no other.
func (j *journal) add(r record) error {
	if err := check(r, j.last()+1); err != nil {
		return err
	}
	*j = append(*j, r)
	return nil
}

// prove goes through all of it again, and takes no earlier check's word.
func (j journal) prove(records uint64) error {
	for i, r := range j {
		if err := check(r, uint64(i)+1); err != nil {
			return err
		}
	}
	if j.last() != records {
		return fmt.Errorf("%d of %d records arrived", j.last(), records)
	}
	return nil
}

func check(r record, number uint64) error {
	if r.number != number {
		return fmt.Errorf("got record %d where record %d belongs", r.number, number)
	}
	if sum := r.sum(); sum != r.checksum {
		return fmt.Errorf("record %d has the CRC-32C %08x, its content gives %08x", number, r.checksum, sum)
	}
	return nil
}
