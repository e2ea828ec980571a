package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	// This is proved, whatever becomes of the flags.
	row.Server, row.Held = tally.Held, tally.Held
	if s.HighestModSeq == 0 || s.HighestModSeq != last.HighestModSeq {
		same, err := p.changes(ctx, j, State{last.UIDValidity, last.UIDNext, last.Messages, last.HighestModSeq})
		if err != nil || !same {
			return false, err
		}
	}
	p.ledger.span(tally.Oldest)
	p.ledger.span(tally.Newest)
	row.Unchanged = true
	return true, nil
}

func syncState(s State) *archive.SyncState {
	return &archive.SyncState{UIDValidity: s.UIDValidity, UIDNext: s.UIDNext, Messages: s.Messages, HighestModSeq: s.HighestModSeq}
}

// changes takes over the flags that changed since the state since. It returns
// false if the set of messages turns out to be another one than STATUS said.
func (p *puller) changes(ctx context.Context, j *job, since State) (same bool, err error) {
	s := j.m.Status
	if s.HighestModSeq < since.HighestModSeq {
		since.HighestModSeq = 0 // the server was set back: what changed since then it does not know
	}
	for {
		var listed []Listed
		now, err := p.src.Changes(ctx, j.m, since, func(l Listed) error {
			listed = append(listed, l)
			return nil
		})
		if errors.Is(err, ErrChanged) || err == nil && (now.UIDValidity != s.UIDValidity || now.Messages != s.Messages || now.UIDNext != s.UIDNext) {
			return false, nil // something happened since STATUS was asked
		}
		if err != nil {
			return false, err
		}
		f, err := j.compareFlags(now, listed)
		if err != nil || f.unknown {
			return false, err
		}
		if since.HighestModSeq != 0 && (f.several || now.HighestModSeq < since.HighestModSeq) {
			// Which of several origins rules, only the whole list tells.
			since.HighestModSeq = 0
			continue
		}
		p.takeFlags(j, f)
		j.box.SetState(syncState(now))
		return true, nil
	}
}

// flagChanges is what compareFlags found.
type flagChanges struct {
	seqs    []uint32
	flags   map[uint32][]string // of seqs; not there if it turned out to be no change
	unknown bool                // a message is listed that is not held
	several bool                // a message has several origins
}

// compareFlags compares the flags of held messages with those the server had
// last. Of several origins of one message the first listed one rules; of one
// that is listed several times what was said last.
func (j *job) compareFlags(state State, listed []Listed) (f flagChanges, err error) {
	f.flags = map[uint32][]string{}
	ruler := map[uint32]string{}
	q := func(i int) archive.Query {
		return archive.Query{UIDValidity: state.UIDValidity, UID: listed[i].UID, Size: -1} // Changes says no size
	}
	err = j.box.Ask(len(listed), q, func(i int, ans archive.Answer) {
		l := listed[i]
		if !ans.Held || ans.Gone {
			f.unknown = true
		}
		if !ans.Held {
			return
		}
		if ans.Origins > 1 {
			f.several = true
			if uid, ruled := ruler[ans.Seq]; ruled && uid != l.UID {
				return
			}
			ruler[ans.Seq] = l.UID
		}
		if dedupe.FlagString(l.Flags) == ans.Flags {
			delete(f.flags, ans.Seq)
			return
		}
		if _, again := f.flags[ans.Seq]; !again {
			f.seqs = append(f.seqs, ans.Seq)
		}
		f.flags[ans.Seq] = l.Flags
	})
	return f, err
}

// takeFlags takes over what compareFlags found.
func (p *puller) takeFlags(j *job, f flagChanges) {
	for _, seq := range f.seqs {
		if flags, ok := f.flags[seq]; ok {
			delete(f.flags, seq)
			j.box.SetFlags(seq, flags)
			p.rowOf(j).Flags++
		}
	}
}

// list reads the server's whole list and compares it with what is held. Of the
// list it leaves what is wanted.
func (p *puller) list(ctx context.Context, j *job) error {
	row := p.rowOf(j)
	row.Held, row.Rebound, row.Missing, row.Gone, row.Err = 0, 0, nil, nil, nil
	j.listed, j.want, j.fates, j.names, j.whole = nil, nil, nil, nil, false
	err := p.compare(ctx, j)
	j.keepWanted()
	return err
}

func (p *puller) compare(ctx context.Context, j *job) error {
	row := p.rowOf(j)
	state, err := p.src.List(ctx, j.m, func(l Listed) error {
		j.listed = append(j.listed, l)
		return nil
	})
	p.ledger.Facts = p.src.Facts()
	row.Server = len(j.listed)
	if err != nil {
		row.Server = max(len(j.listed), messagesOf(&state), messagesOf(j.m.Status))
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
			p.ledger.span(ans.Date)
			return
		}
		j.want = append(j.want, int32(i))
	})
	if err != nil {
		j.want = nil
		return err
	}
	j.wantTwins()
	row.Held = len(j.listed) - len(j.want)
	if p.ledger.Facts.KeepsFlags && row.Held > 0 {
		f, err := j.compareFlags(state, j.listed)
		if err != nil {
			return err
		}
		p.takeFlags(j, f)
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

// wantTwins wants all messages of one name if one of them is wanted. Ordinals
// follow the server's order, and that may be another one today.
func (j *job) wantTwins() {
	twins := map[string]bool{}
	for i := range j.listed {
		if q := j.query(int32(i)); q.Ordinal > 0 {
			twins[q.UID] = false
		}
	}
	if len(twins) == 0 {
		return
	}
	for _, w := range j.want {
		if uid := j.query(w).UID; uid != "" {
			if _, ok := twins[uid]; ok {
				twins[uid] = true
			}
		}
	}
	var want []int32
	for i, rest := int32(0), j.want; int(i) < len(j.listed); i++ {
		wanted := len(rest) > 0 && rest[0] == i
		if wanted {
			rest = rest[1:]
		}
		if wanted || twins[j.query(i).UID] {
			want = append(want, i)
		}
	}
	j.want = want
}

// keepWanted forgets of the list what is not wanted: of a large account that is
// nearly all.
func (j *job) keepWanted() {
	j.fates = make([]fate, len(j.want))
	if len(j.want) == len(j.listed) {
		j.want = nil
		return
	}
	listed := make([]Listed, len(j.want))
	names := map[int32]place{}
	for i, w := range j.want {
		listed[i] = j.listed[w]
		if n, ok := j.names[w]; ok {
			names[int32(i)] = n
		}
	}
	j.listed, j.names, j.want = listed, names, nil
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
		i, ok := at[l.Num]
		if _, again := j.names[i]; !ok || again {
			return nil
		}
		hash.Reset()
		hash.Write(header)
		fp, _ := hash.Sum()
		uid := fmt.Sprintf("%s%x %d", headerUID, fp.Header[:16], l.Size)
		j.names[i] = place{uid: uid, ordinal: count[uid]}
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
	claims := map[key][]int32{}
	hash := dedupe.NewHasher()
	err = p.src.Heads(ctx, j.m, j.state, want, func(l Listed, octets []byte) error {
		hash.Reset()
		hash.Write(octets)
		fp, _ := hash.Sum()
		k := key{l.Size, fp.Header}
		if w, ok := at[nameOf(l)]; ok && len(held[k]) == 1 && !slices.Contains(claims[k], w) {
			claims[k] = append(claims[k], w)
		}
		return nil
	})
	if err != nil {
		return err // a claim may have a rival that was not heard
	}
	bound := map[int32]bool{}
	for k, list := range claims {
		if len(list) == 1 {
			j.box.BindAgain(j.query(list[0]), held[k][0])
			bound[list[0]] = true
		}
	}
	j.want = slices.DeleteFunc(j.want, func(w int32) bool { return bound[w] })
	row := p.rowOf(j)
	row.Rebound = len(bound)
	row.Held += len(bound)
	return nil
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
		plan.Messages += len(j.listed)
		for _, l := range j.listed {
			plan.Octets += max(0, l.Size)
		}
	}
	p.o.Observer.Planned(plan)
}
