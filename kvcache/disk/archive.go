// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/graphkv/graphkv/kvcache"
)

// An archive is the magic, any number of entries and an end. An entry is its file's length as a little-endian uint64 > 0, and the file. The
// end is a length of 0 and the number of entries, as a uint64 too. What follows the end is not read.
const archiveMagic = "GKVARC1\n"

// ArchiveError says that an archive cannot be read.
type ArchiveError struct {
	Entry  int // which entry, from 0
	Reason string
}

func (e *ArchiveError) Error() string {
	return fmt.Sprintf("disk: entry %d of the archive: %s", e.Entry, e.Reason)
}

// Export writes the entries that match, all if match is nil, as an archive and returns how many there were. Every file is verified before it
// is written; those that turn out to be damaged go to the quarantine and not into the archive.
func (s *Store) Export(ctx context.Context, w io.Writer, match func(Entry) bool) (entries int, err error) {
	if _, err := io.WriteString(w, archiveMagic); err != nil {
		return 0, err
	}
	for e, err := range s.Entries(ctx) {
		var ce *kvcache.CorruptError
		if err != nil && !errors.As(err, &ce) {
			return entries, err
		}
		if ce == nil && match != nil && !match(e) {
			continue
		}
		was, err := s.exportFile(ctx, w, e.Key) // a damaged one again, to have it quarantined
		if err != nil {
			return entries, err
		}
		if was {
			entries++
		}
	}
	end := binary.LittleEndian.AppendUint64(make([]byte, 8), uint64(entries))
	_, err = w.Write(end)
	return entries, err
}

func (s *Store) exportFile(ctx context.Context, w io.Writer, k kvcache.Key) (was bool, err error) {
	if err := s.begin(); err != nil {
		return false, err
	}
	defer s.ops.Done()
	h, v, err := s.mapFile(ctx, s.path(k), k)
	var d *damage
	switch {
	case notExist(err):
		return false, nil
	case errors.As(err, &d):
		_ = s.quarantine(k, d)
		return false, nil
	case err != nil:
		return false, err
	}
	defer v.unmap()
	_, err = w.Write(binary.LittleEndian.AppendUint64(nil, uint64(h.fileLen())))
	if err == nil {
		_, err = w.Write(h.encode())
	}
	for layer := 0; err == nil && layer < h.shape.Layers; layer++ {
		if err = ctx.Err(); err == nil {
			_, err = w.Write(h.layerOf(v.kv.Data(), layer))
		}
	}
	return err == nil, err
}

// Import puts the entries of an archive and returns how many are kept: those that do not fit the budget are not. It believes no number in it
// before it has checked it, holds no more of it in memory than a header and a buffer, and keeps no entry whose checksums are wrong. What it
// cannot check is that a KV is what its key stands for: import from where you would take the program from. An archive that breaks off
// or is damaged is an *[ArchiveError]; the entries before that are kept.
func (s *Store) Import(ctx context.Context, r io.Reader) (kept int, err error) {
	magic := make([]byte, len(archiveMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return 0, readError(0, "magic", err)
	}
	if string(magic) != archiveMagic {
		return 0, &ArchiveError{0, fmt.Sprintf("magic: %q, want %q", magic, archiveMagic)}
	}
	in := &importer{r: r, buffer: make([]byte, 256<<10)}
	for ; ; in.entry++ {
		n, err := in.uint64("length")
		if err != nil {
			return kept, err
		}
		if n == 0 {
			break
		}
		stored, err := in.file(ctx, s, n)
		if err != nil {
			return kept, err
		}
		if stored {
			kept++
		}
	}
	n, err := in.uint64("number of entries")
	if err == nil && n != uint64(in.entry) {
		err = &ArchiveError{in.entry, fmt.Sprintf("number of entries: %d, want %d", n, in.entry)}
	}
	return kept, err
}

// importer reads an archive.
type importer struct {
	r      io.Reader
	entry  int
	buffer []byte
}

// readError makes an archive that ends too soon an *ArchiveError, and leaves other errors of its reader as they are.
func readError(entry int, what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &ArchiveError{entry, what + ": the archive ends"}
	}
	return fmt.Errorf("disk: entry %d of the archive: %s: %w", entry, what, err)
}

func (in *importer) uint64(what string) (uint64, error) {
	b := in.buffer[:8]
	if _, err := io.ReadFull(in.r, b); err != nil {
		return 0, readError(in.entry, what, err)
	}
	return binary.LittleEndian.Uint64(b), nil
}

// file imports a file of n bytes.
func (in *importer) file(ctx context.Context, s *Store, n uint64) (kept bool, err error) {
	h, err := in.header(n)
	if err != nil {
		return false, err
	}
	read := 0 // layers
	kept, err = s.install(ctx, h, func(w io.Writer, layer int) error {
		read++
		return in.layer(ctx, h, layer, w)
	})
	var ae *ArchiveError
	if errors.As(err, &ae) {
		return false, ae
	}
	for ; err == nil && read < h.shape.Layers; read++ { // of one that was not kept
		err = in.layer(ctx, h, read, io.Discard)
	}
	return kept, err
}

func (in *importer) header(n uint64) (*header, error) {
	if least, most := headerLen(1), headerLen(maxLayers)+kvcache.MaxKVBytes; n < uint64(least) || n > uint64(most) {
		return nil, &ArchiveError{in.entry, fmt.Sprintf("length: %d bytes, must be in [%d, %d]", n, least, most)}
	}
	b := make([]byte, headerLen(1), blockSize)
	if _, err := io.ReadFull(in.r, b); err != nil {
		return nil, readError(in.entry, "header", err)
	}
	length, err := headerLenOf(b)
	if err == nil {
		have := len(b)
		b = append(b, make([]byte, length-int64(have))...) // at most 256 KiB
		if _, err := io.ReadFull(in.r, b[have:]); err != nil {
			return nil, readError(in.entry, "header", err)
		}
		var h *header
		if h, err = parseHeader(b, int64(n)); err == nil {
			return h, nil
		}
	}
	return nil, &ArchiveError{in.entry, err.Error()}
}

// layer copies a layer and verifies it on the way.
func (in *importer) layer(ctx context.Context, h *header, layer int, w io.Writer) error {
	var sum uint32
	for left := h.layer; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := in.buffer[:min(left, int64(len(in.buffer)))]
		if _, err := io.ReadFull(in.r, b); err != nil {
			return readError(in.entry, fmt.Sprintf("layer %d", layer), err)
		}
		sum = crc32.Update(sum, castagnoli, b)
		if _, err := w.Write(b); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	if err := h.checkLayer(layer, sum); err != nil {
		return &ArchiveError{in.entry, err.Error()}
	}
	return nil
}
