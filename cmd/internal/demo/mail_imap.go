package demo

import (
	"image/color"

	"golang.org/x/text/encoding/japanese"
)

// imapLetters is the mail of the office account.
func imapLetters() []Letter {
	const seen, answered, flagged = `\Seen`, `\Answered`, `\Flagged`
	quote := quoteWithAttachment()
	return []Letter{
		{"INBOX", at(2, 2, 9, 5), []string{seen}, welcome(), ""},
		{"INBOX", at(2, 3, 10, 21), []string{seen, answered}, meeting(), ""},
		{"INBOX", at(2, 12, 8, 0), []string{seen}, shoppingStreet(), ""},
		{"INBOX", at(2, 19, 14, 32), []string{seen, flagged}, quote, ""},
		{"INBOX", at(3, 2, 9, 30), []string{seen}, officeClosed(officeRoad), ""},
		{"INBOX", at(3, 5, 11, 0), nil, deliveryNotice("Thu, 05 Mar 2026 11:00", "お荷物を発送しました。", "お届け予定日は 3 月 7 日です。"), ""},
		{"INBOX", at(3, 7, 15, 45), nil, deliveryNotice("Sat, 07 Mar 2026 15:45", "お荷物をお届けしました。", "またのご利用をお待ちしております。"), ""},
		{"INBOX", at(3, 11, 17, 3), nil, scanned(), ""},
		{"INBOX", at(3, 16, 7, 59), nil, broken(), ""},
		{sentMailbox, at(2, 3, 13, 2), []string{seen}, meetingReply(), ""},
		{sentMailbox, at(2, 18, 16, 40), []string{seen}, quoteRequest(), ""},
		{quoteMailbox, at(2, 19, 14, 32), []string{seen, flagged}, quote, ""},
		{quoteMailbox, at(2, 24, 18, 11), []string{seen, "$Label1"}, overseasQuote(), ""},
	}
}

// officeRoad are the trace fields of a letter that came to the office account.
func officeRoad(id, stamp string) []field {
	return []field{
		{"Return-Path", "<bounce@example.jp>"},
		{"Delivered-To", officeAddress},
		{"Received", "from mx.example.jp (mx.example.jp [192.0.2.10])\r\n\tby imap.example.jp with ESMTPS id " + id + "\r\n\tfor <" + officeAddress + ">; " + stamp},
	}
}

func welcome() []byte {
	return compose([]field{
		{"From", word("UTF-8", "文箱") + " <fumibako@example.jp>"},
		{"To", word("UTF-8", "山田太郎") + " <" + officeAddress + ">"},
		{"Subject", word("UTF-8", "文箱のデモへようこそ")},
		{"Date", "Mon, 02 Feb 2026 09:05:00 +0900"},
		{"Message-ID", "<welcome.1@example.jp>"},
	}, "alternative", text(`
山田様

これは文箱のデモ用のメールです。
受信サーバーもメールも、このパソコンの中だけで動いています。
外部との通信は一切ありません。

どうぞお気軽にお試しください。
`), html(`
<html><body>
<p>山田様</p>
<p>これは<b>文箱</b>のデモ用のメールです。<br>
受信サーバーもメールも、このパソコンの中だけで動いています。</p>
</body></html>
`))
}

func meeting() []byte {
	return iso2022jp(append(officeRoad("4F2A10", "Tue, 03 Feb 2026 10:21:08 +0900 (JST)"),
		field{"From", word("ISO-2022-JP", "田中花子") + " <hanako@partner.example.jp>"},
		field{"To", word("ISO-2022-JP", "山田太郎") + " <" + officeAddress + ">"},
		field{"Subject", word("ISO-2022-JP", "打ち合わせの日程について")},
		field{"Date", "Tue, 3 Feb 2026 10:21:00 +0900"},
		field{"Message-ID", "<20260203102100.0A1B.HANAKO@partner.example.jp>"},
		field{"X-Mailer", "Becky! ver. 2.81.05 [ja]"},
	), `
山田様

いつもお世話になっております。田中です。

来週の打ち合わせですが、次の日時はいかがでしょうか。

  2 月 10 日(火) 14:00 ～ 15:30
  場所  駅前ビル 3 階 会議室

ご都合をお知らせください。よろしくお願いいたします。

--
田中花子
`)
}

func meetingReply() []byte {
	return iso2022jp([]field{
		{"From", word("ISO-2022-JP", "山田太郎") + " <" + officeAddress + ">"},
		{"To", word("ISO-2022-JP", "田中花子") + " <hanako@partner.example.jp>"},
		{"Subject", "Re: " + word("ISO-2022-JP", "打ち合わせの日程について")},
		{"Date", "Tue, 3 Feb 2026 13:02:00 +0900"},
		{"Message-ID", "<20260203130200.7C21.TARO@example.jp>"},
		{"In-Reply-To", "<20260203102100.0A1B.HANAKO@partner.example.jp>"},
		{"References", "<20260203102100.0A1B.HANAKO@partner.example.jp>"},
	}, `
田中様

ご連絡ありがとうございます。
2 月 10 日 14 時で承知いたしました。資料を持って伺います。

> 来週の打ち合わせですが、次の日時はいかがでしょうか。
>
>   2 月 10 日(火) 14:00 ～ 15:30

山田
`)
}

func shoppingStreet() []byte {
	return shiftJIS(append(officeRoad("5B0077", "Thu, 12 Feb 2026 08:00:03 +0900 (JST)"),
		field{"From", word("Shift_JIS", "さくら商店街") + " <news@sakura.example.jp>"},
		field{"To", "members@sakura.example.jp"},
		field{"Subject", word("Shift_JIS", "早春まつりのご案内")},
		field{"Date", "Thu, 12 Feb 2026 08:00:00 +0900"},
		field{"Message-ID", "<news-0212@sakura.example.jp>"},
		field{"List-Id", "<members.sakura.example.jp>"},
	), `
さくら商店街の皆様

今年も早春まつりを行います。①模擬店 ②福引 ③演奏会

日時  3 月 1 日(日) 10:00 から
場所  駅前広場

たくさんのご参加をお待ちしております。
`)
}

func quoteRequest() []byte {
	return compose([]field{
		{"From", word("UTF-8", "山田太郎") + " <" + officeAddress + ">"},
		{"To", word("UTF-8", "佐藤次郎") + " <sato@print.example.jp>"},
		{"Subject", word("UTF-8", "封筒印刷のお見積りのお願い")},
		{"Date", "Wed, 18 Feb 2026 16:40:00 +0900"},
		{"Message-ID", "<request.18@example.jp>"},
	}, "mixed", text(`
佐藤様

角 2 封筒 500 枚の印刷をお願いしたく、お見積りをいただけますでしょうか。
原稿の案を添付いたします。

山田
`), attachment("image/png", "封筒の案.png", picture(color.RGBA{0xd6, 0xea, 0xf8, 0xff}, color.RGBA{0x52, 0x7a, 0x52, 0xff})))
}

func quoteWithAttachment() []byte {
	return compose(append(officeRoad("61C3D9", "Thu, 19 Feb 2026 14:32:11 +0900 (JST)"),
		field{"From", word("UTF-8", "佐藤次郎") + " <sato@print.example.jp>"},
		field{"To", word("UTF-8", "山田太郎") + " <" + officeAddress + ">"},
		field{"Subject", word("UTF-8", "お見積書をお送りします")},
		field{"Date", "Thu, 19 Feb 2026 14:32:00 +0900"},
		field{"Message-ID", "<estimate-2026-0219@print.example.jp>"},
		field{"In-Reply-To", "<request.18@example.jp>"},
	), "mixed", text(`
山田様

お問い合わせありがとうございます。佐藤印刷の佐藤です。
封筒 500 枚のお見積書を添付いたします。

ご検討のほど、よろしくお願いいたします。
`), attachment("application/pdf", "見積書.pdf", pdf("Estimate 2026-0219  Envelopes 500  JPY 18,700")))
}

func overseasQuote() []byte {
	return raw([]field{
		{"Delivered-To", officeAddress},
		{"Received", "from mail.example.net (mail.example.net [203.0.113.7])\r\n\tby imap.example.jp with ESMTPS id 70AA31\r\n\tfor <" + officeAddress + ">; Tue, 24 Feb 2026 18:11:40 +0900 (JST)"},
		{"From", "=?ISO-8859-1?Q?J=FCrgen_M=FCller?= <mueller@paper.example.net>"},
		{"To", "Taro Yamada <" + officeAddress + ">"},
		{"Subject", "=?ISO-8859-1?Q?Offer_for_paper_120_g/m=B2?="},
		{"Date", "Tue, 24 Feb 2026 10:11:32 +0100"},
		{"Message-ID", "<B7E2C0.2201@paper.example.net>"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=ISO-8859-1; format=flowed"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	}, crlf(`
Dear Mr Yamada,

thank you for your enquiry. We can offer 20 reams of paper,
120 g/m=B2, at =80 8.40 each, delivery included.

Kind regards from M=FCnchen
J=FCrgen M=FCller
`))
}

// officeClosed reached both accounts; road tells by which way. But for the
// trace fields it is the same letter.
func officeClosed(road func(id, stamp string) []field) []byte {
	return compose(append(road("7D0E55", "Mon, 02 Mar 2026 09:30:04 +0900 (JST)"),
		field{"From", word("UTF-8", "鈴木一郎") + " <suzuki@example.jp>"},
		field{"To", officeAddress + ", " + shopAddress},
		field{"Subject", word("UTF-8", "創立記念日の休業について")},
		field{"Date", "Mon, 02 Mar 2026 09:30:00 +0900"},
		field{"Message-ID", "<notice.0302@example.jp>"},
	), "mixed", text(`
各位

3 月 20 日(金)は創立記念日のため、事務所と店舗をお休みします。
お客様へのご案内をよろしくお願いします。

鈴木
`))
}

// deliveryNotice is from a mailing program that gives every letter the same
// Message-ID: the letters are different all the same.
func deliveryNotice(minute string, lines ...string) []byte {
	body := "山田太郎 様\n\n"
	for _, l := range lines {
		body += l + "\n"
	}
	return iso2022jp(append(officeRoad("8801F2", minute+":01 +0900 (JST)"),
		field{"From", word("ISO-2022-JP", "ことり運送") + " <notice@kotori.example.jp>"},
		field{"To", officeAddress},
		field{"Subject", word("ISO-2022-JP", "お荷物のお知らせ")},
		field{"Date", minute + ":00 +0900"},
		field{"Message-ID", "<notice@kotori.example.jp>"},
	), body+"\nことり運送\n")
}

// scanned comes from a copying machine that writes no Message-ID.
func scanned() []byte {
	return compose([]field{
		{"From", "scanner@example.jp"},
		{"To", officeAddress},
		{"Subject", "Scan from MFP-2F"},
		{"Date", "Wed, 11 Mar 2026 17:03:00 +0900"},
	}, "mixed", text("2 階の複合機で読み取った画像です。\n"),
		attachment("image/png", "SCAN0001.png", picture(color.RGBA{0xff, 0xff, 0xff, 0xff}, color.RGBA{0x99, 0x99, 0x99, 0xff})))
}

// broken has an 8-bit header field, a line that is no field, no empty line
// after it, and a NUL: what an old order form on a web server sends.
func broken() []byte {
	octets := []byte("From: form@old.example.jp\r\nTo: " + officeAddress + "\r\nSubject: ")
	octets = append(octets, encode(japanese.ShiftJIS, "ご注文フォーム")...)
	octets = append(octets, "\r\nDate: Mon, 16 Mar 2026 07:58:41 +0900\r\n"...)
	octets = append(octets, encode(japanese.ShiftJIS, "お名前 = 小川\r\n品名 = 絵はがき\x00\r\n数量 = 20\r\n")...)
	return octets
}
