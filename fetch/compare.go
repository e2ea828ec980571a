package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/dedupe"
)

// unchanged recognises a mailbox in which nothing happened since a run that
// dealt with all of it, from what STATUS said alone, and takes over flags.
func (p *puller) unchanged(ctx context.Context, j *job) (bool, error) {
	last, ok := j.box.LastState()
	s := j.m.Status
	if !ok || s == nil || s.UIDNext == 0 || s.UIDValidity == 0 || s.UIDValidity != last.UIDValidity || s.UIDNext != last.UIDNext ||
		s.Messages != last.Messages {
		return false, nil
	}
	tally, err := j.box.CountHeld(s.UIDValidity)
	if err != nil {
		return false, err
	}
	if tally.Held != int(s.Messages) {
		return false, nil // a file is gone, or the count hides a change
	}
	row := p.rowOf(j)
	if s.HighestModSeq == 0 || s.HighestModSeq != last.HighestModSeq {
		// The set is proved, the flags are not.
		since := State{last.UIDValidity, last.UIDNext, last.Messages, last.HighestModSeq}
		now, err := p.changes(ctx, j, since)
		if errors.Is(err, ErrChanged) || err == nil && (now.UIDValidity != s.UIDValidity || now.Messages != s.Messages || now.UIDNext != s.UIDNext) {
			return false, nil // something happened since STATUS was asked
		}
		if err != nil {
			return false, err
		}
		j.state = now
		j.box.SetState(syncState(now))
	}
	row.Server, row.Held, row.Unchanged = tally.Held, tally.Held, true
	p.ledger.span(tally.Oldest)
	p.ledger.span(tally.Newest)
	j.whole = true
	return true, nil
}

func syncState(s State) *archive.SyncState {
	return &archive.SyncState{UIDValidity: s.UIDValidity, UIDNext: s.UIDNext, Messages: s.Messages, HighestModSeq: s.HighestModSeq}
}

func (p *puller) changes(ctx context.Context, j *job, since State) (State, error) {
	var listed []Listed
	state, err := p.src.Changes(ctx, j.m, since, func(l Listed) error {
		listed = append(listed, l)
		return nil
	})
	if err != nil {
		return state, err
	}
	return state, p.takeFlags(j, state, listed)
}

// takeFlags compares the flags of held messages with those the server had
// last. Of several origins of one message the first listed one rules.
func (p *puller) takeFlags(j *job, state State, listed []Listed) error {
	ruled := map[uint32]bool{}
	type change struct {
		seq   uint32
		flags []string
	}
	var changed []change
	q := func(i int) archive.Query {
		return archive.Query{UIDValidity: state.UIDValidity, UID: listed[i].UID, Size: -1} // Changes says no size
	}
	err := j.box.Ask(len(listed), q, func(i int, ans archive.Answer) {
		if !ans.Held {
			return
		}
		if ans.Origins > 1 {
			if ruled[ans.Seq] {
				return
			}
			ruled[ans.Seq] = true
		}
		if dedupe.FlagString(listed[i].Flags) != ans.Flags {
			changed = append(changed, change{ans.Seq, listed[i].Flags})
		}
	})
	for _, c := range changed {
		j.box.SetFlags(c.seq, c.flags)
		p.rowOf(j).Flags++
	}
	return err
}

// list reads the server's whole list and compares it with what is held.
func (p *puller) list(ctx context.Context, j *job) error {
	j.listed, j.want, j.whole = j.listed[:0], nil, false
	row := p.rowOf(j)
	row.Held = 0
	state, err := p.src.List(ctx, j.m, func(l Listed) error {
		j.listed = append(j.listed, l)
		return nil
	})
	p.ledger.Facts = p.src.Facts()
	row.Server = len(j.listed)
	if err != nil {
		row.Server = max(len(j.listed), int(state.Messages))
		if ctx.Err() != nil || !endsMailbox(err) || len(j.listed) == 0 {
			return err
		}
		row.Err = err // what was listed can be fetched all the same
	}
	j.state, j.whole = state, true
	if err := p.nameByHeader(ctx, j); err != nil {
		return err
	}
	q := func(i int) archive.Query { return j.query(int32(i)) }
	err = j.box.Ask(len(j.listed), q, func(i int, ans archive.Answer) {
		if ans.Held {
			row.Held++
			p.ledger.span(ans.Date)
			return
		}
		j.want = append(j.want, int32(i))
	})
	if err != nil {
		return err
	}
	if p.ledger.Facts.KeepsFlags && row.Held > 0 {
		if err := p.takeFlags(j, state, j.listed); err != nil {
			return err
		}
	}
	if row.Err != nil {
		return nil // who is not in half a list has not vanished
	}
	if _, err := j.box.Vanish(state.UIDValidity, len(j.listed), q); err != nil {
		return err
	}
	if p.o.Rebind && len(j.want) > 0 {
		return p.rebind(ctx, j)
	}
	return nil
}

// headerUID marks an identity made of size and header digest.
const headerUID = "\x00header "

// nameByHeader gives messages without a unique-id an identity: listed size,
// digest of the header, and how many such there are in the list. So as many
// are fetched as the list holds more than the archive. Where the server has no
// TOP, the message is fetched, and recognised by its octets.
func (p *puller) nameByHeader(ctx context.Context, j *job) error {
	var nameless []Listed
	at := map[uint32]int32{}
	j.names = map[int32]place{}
	for i, l := range j.listed {
		if l.UID == "" {
			nameless = append(nameless, l)
			at[l.Num] = int32(i)
		}
	}
	if len(nameless) == 0 {
		return nil
	}
	count := map[string]int{}
	hash := dedupe.NewHasher()
	return p.src.Heads(ctx, j.m, j.state, nameless, func(l Listed, header []byte) error {
		hash.Reset()
		hash.Write(header)
		fp, _ := hash.Sum()
		uid := fmt.Sprintf("%s%x %d", headerUID, fp.Header[:16], l.Size)
		j.names[at[l.Num]] = place{uid: uid, ordinal: count[uid]}
		count[uid]++
		return nil
	})
}

// rebind lets wanted messages lead to held ones that nothing on the server
// leads to any more, where size and header octets are equal and leave no
// choice.
func (p *puller) rebind(ctx context.Context, j *job) error {
	type key struct {
		size   int64
		header dedupe.Digest
	}
	held := map[key][]uint32{}
	err := j.box.Unbound(func(seq uint32, octets int64, header dedupe.Digest) {
		held[key{octets, header}] = append(held[key{octets, header}], seq)
	})
	if err != nil || len(held) == 0 {
		return err
	}
	want := make([]Listed, len(j.want))
	at := map[place]int32{}
	for i, w := range j.want {
		want[i] = j.listed[w]
		at[nameOf(want[i])] = w
	}
	bound := map[int32]bool{}
	hash := dedupe.NewHasher()
	err = p.src.Heads(ctx, j.m, j.state, want, func(l Listed, octets []byte) error {
		hash.Reset()
		hash.Write(octets)
		fp, _ := hash.Sum()
		k := key{l.Size, fp.Header}
		if seqs := held[k]; len(seqs) == 1 {
			w := at[nameOf(l)]
			j.box.BindAgain(j.query(w), seqs[0])
			delete(held, k)
			bound[w] = true
		}
		return nil
	})
	rest := j.want[:0]
	for _, w := range j.want {
		if !bound[w] {
			rest = append(rest, w)
		}
	}
	j.want = rest
	row := p.rowOf(j)
	row.Rebound = len(bound)
	row.Held += len(bound)
	return err
}

// place names a message within one list: a server without unique-ids has only
// numbers for that.
type place struct {
	uid     string
	ordinal int
	num     uint32
}

func nameOf(l Listed) place { return place{l.UID, l.Ordinal, l.Num} }

func (p *puller) announce() {
	if p.o.Observer.Planned == nil {
		return
	}
	plan := Plan{Facts: p.ledger.Facts, Mailboxes: len(p.jobs)}
	for _, j := range p.jobs {
		plan.Server += p.rowOf(j).Server
		plan.Messages += len(j.want)
		for _, w := range j.want {
			plan.Octets += max(0, j.listed[w].Size)
		}
	}
	p.o.Observer.Planned(plan)
}
