package demo

import (
	"image/color"

	"golang.org/x/text/encoding/japanese"
)

// popLetters is what is left in the maildrop of the shop account.
func popLetters() []Letter {
	return []Letter{
		{Date: at(1, 6, 10, 0), Octets: newYear(), UIDL: "000000016a1b2c00"},
		{Date: at(1, 20, 19, 12), Octets: photograph(), UIDL: "000000026a1b2c00"},
		{Date: at(2, 9, 12, 30), Octets: order(), UIDL: "000000036a1b2c00"},
		{Date: at(2, 16, 6, 0), Octets: newsletter(), UIDL: "000000046a1b2c00"},
		{Date: at(3, 2, 9, 30), Octets: officeClosed(shopRoad), UIDL: "000000056a1b2c00"},
		{Date: at(3, 9, 21, 47), Octets: recipe(), UIDL: "000000066a1b2c00"},
		{Date: at(3, 13, 18, 0), Octets: sales(), UIDL: "000000076a1b2c00"},
		{Date: at(3, 18, 8, 15), Octets: shortNote(), UIDL: "000000086a1b2c00"},
	}
}

// shopRoad are the trace fields of a letter that came to the shop account.
func shopRoad(id, stamp string) []field {
	return []field{
		{"Return-Path", "<bounce@example.jp>"},
		{"Delivered-To", shopAddress},
		{"X-Original-To", shopAddress},
		{"Received", "by pop.shop.example.jp (Postfix)\r\n\tid " + id + "A0; " + stamp},
		{"X-Spam-Status", "No, score=-1.2"},
	}
}

func newYear() []byte {
	return iso2022jp(append(shopRoad("1A2B3C", "Tue, 06 Jan 2026 10:00:05 +0900 (JST)"),
		field{"From", word("ISO-2022-JP", "高橋文具店") + " <info@bungu.example.jp>"},
		field{"To", shopAddress},
		field{"Subject", word("ISO-2022-JP", "新年のご挨拶")},
		field{"Date", "Tue, 6 Jan 2026 10:00:00 +0900"},
		field{"Message-ID", "<nenga2026@bungu.example.jp>"},
	), `
山田様

あけましておめでとうございます。
旧年中は大変お世話になりました。
本年もどうぞよろしくお願いいたします。

高橋文具店
`)
}

func photograph() []byte {
	return compose(append(shopRoad("2C4D11", "Tue, 20 Jan 2026 19:12:44 +0900 (JST)"),
		field{"From", word("UTF-8", "母") + " <haha@family.example.jp>"},
		field{"To", shopAddress},
		field{"Subject", word("UTF-8", "山の写真")},
		field{"Date", "Tue, 20 Jan 2026 19:12:30 +0900"},
		field{"Message-ID", "<photo-0120@family.example.jp>"},
	), "mixed", text("太郎へ\n\n今朝、山がとてもきれいでした。写真を送ります。\n体に気をつけて。\n\n母\n"),
		attachment("image/png", "山の朝.png", picture(color.RGBA{0xfd, 0xeb, 0xd0, 0xff}, color.RGBA{0x5d, 0x6d, 0x7e, 0xff})))
}

func order() []byte {
	return shiftJIS(append(shopRoad("3E5F22", "Mon, 09 Feb 2026 12:30:02 +0900 (JST)"),
		field{"From", word("Shift_JIS", "ネット受注係") + " <order@cart.example.jp>"},
		field{"To", shopAddress},
		field{"Subject", word("Shift_JIS", "ご注文 No.1024")},
		field{"Date", "Mon, 9 Feb 2026 12:30:00 +0900"},
		field{"Message-ID", "<order-1024@cart.example.jp>"},
	), `
新しいご注文がありました。

  注文番号  1024
  商品      和紙の便箋 (青) × 3
  合計      ￥1,980

発送の準備をお願いします。
`)
}

func newsletter() []byte {
	return iso2022jp(append(shopRoad("406133", "Mon, 16 Feb 2026 06:00:09 +0900 (JST)"),
		field{"From", word("ISO-2022-JP", "商工だより") + " <dayori@chamber.example.jp>"},
		field{"To", "dayori-readers@chamber.example.jp"},
		field{"Subject", word("ISO-2022-JP", "商工だより 第88号")},
		field{"Date", "Mon, 16 Feb 2026 06:00:00 +0900"},
		field{"Message-ID", "<dayori-88@chamber.example.jp>"},
		field{"List-Id", "<dayori.chamber.example.jp>"},
		field{"Precedence", "list"},
	), `
━━━━━━━━━━━━━━━━
  商工だより 第 88 号
━━━━━━━━━━━━━━━━

・確定申告の相談会を開きます(2 月 25 日)
・新しい会員のご紹介

次号は 3 月 2 日にお届けします。
`)
}

// recipe has lines that begin with dots and with "From ": the transport
// doubles the first, careless mailbox files change the second.
func recipe() []byte {
	return raw(append(shopRoad("528344", "Mon, 09 Mar 2026 21:47:31 +0900 (JST)"),
		field{"From", "Aoi <aoi@family.example.jp>"},
		field{"To", shopAddress},
		field{"Subject", "Grandmother's rice crackers"},
		field{"Date", "Mon, 09 Mar 2026 21:47:20 +0900"},
		field{"Message-ID", "<crackers@family.example.jp>"},
		field{"Content-Type", "text/plain; charset=us-ascii"},
	), crlf(`
From grandmother's notebook, for you:

.5 kg rice flour
..and a little soy sauce
.
>From here on it is all in the hands.

Bake until they smell right.
`))
}

func sales() []byte {
	table := "日付,商品,数量,金額\r\n2026/03/13,便箋,12,7920\r\n2026/03/13,封筒,30,4500\r\n2026/03/13,はがき,45,2925\r\n"
	return compose(append(shopRoad("64A555", "Fri, 13 Mar 2026 18:00:12 +0900 (JST)"),
		field{"From", word("UTF-8", "レジ") + " <register@shop.example.jp>"},
		field{"To", shopAddress},
		field{"Subject", word("UTF-8", "本日の売上")},
		field{"Date", "Fri, 13 Mar 2026 18:00:00 +0900"},
		field{"Message-ID", "<sales-0313@shop.example.jp>"},
	), "mixed", text("本日の売上を送ります。\n"),
		attachment("text/csv", "売上0313.csv", encode(japanese.ShiftJIS, table)))
}

// shortNote is 8-bit UTF-8 without a line end at its end.
func shortNote() []byte {
	return raw(append(shopRoad("76C766", "Wed, 18 Mar 2026 08:15:50 +0900 (JST)"),
		field{"From", word("UTF-8", "小林") + " <kobayashi@shop.example.jp>"},
		field{"To", shopAddress},
		field{"Subject", word("UTF-8", "今日は少し遅れます")},
		field{"Date", "Wed, 18 Mar 2026 08:15:44 +0900"},
		field{"Message-ID", "<note-0318@shop.example.jp>"},
		field{"MIME-Version", "1.0"},
		field{"Content-Type", "text/plain; charset=utf-8"},
		field{"Content-Transfer-Encoding", "8bit"},
	), []byte("電車が止まっているので、10 時ごろ着きます。小林"))
}
