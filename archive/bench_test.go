package archive

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// BenchmarkAdd keeps messages of 14 kB (the mean of real mail) in a new
// archive, everything durable at the end: octets a second, and messages.
func BenchmarkAdd(b *testing.B) {
	line := "受信メールサーバーの設定と見積依頼に関するお問い合わせ\r\n"
	body := strings.Repeat(line, 14000/len(line))
	for _, f := range formats {
		b.Run(string(f), func(b *testing.B) {
			a, err := Open(b.TempDir(), Options{Format: f, Create: true})
			if err != nil {
				b.Fatal(err)
			}
			e, _ := a.Enroll(office)
			m, err := a.Mailbox(e, MailboxInfo{Name: "INBOX"})
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewSource(1))
			b.SetBytes(14000)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				o := letter(i, fmt.Sprint(rng.Int63())+body)
				if _, err := m.Add(meta(fmt.Sprint(i+1), o), strings.NewReader(o)); err != nil {
					b.Fatal(err)
				}
			}
			if err := a.Flush(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			a.Close()
		})
	}
}
