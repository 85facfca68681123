"""Why a note was written: six intents, each with its own manner of speaking in both languages."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.data.world.topics import ZH


@dataclass(frozen=True)
class Phrases:
    """Templates of one intent in one language; ``{sub}`` names the subtopic, ``{a}`` and ``{b}`` are details."""

    word: str
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    points: tuple[str, ...]
    endings: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Intent:
    """What the reader is offered: instructions, a judgement, finds, company, savings or an overview."""

    name: str
    zh: Phrases
    en: Phrases

    def phrases(self, language: str) -> Phrases:
        return self.zh if language == ZH else self.en


INTENTS = (
    Intent(
        "tutorial",
        Phrases(
            "教程",
            ("手把手教你{sub}", "{sub}新手教程，一看就会", "三步学会{sub}", "{sub}详细步骤，零失败"),
            ("很多人问我怎么做，今天把步骤写清楚。", "跟着做一遍就会了，新手也不用怕。", "这篇是零基础教程，慢慢来。"),
            ("第一步先处理{a}，第二步注意{b}。", "关键步骤在{a}，做对了{b}就不难。", "先练{a}，熟练之后再加{b}。"),
            ("学会了记得回来交作业。", "有不懂的步骤评论区问我。", "收藏起来照着练。"),
            ("教程", "新手入门", "步骤详解"),
        ),
        Phrases(
            "tutorial",
            (
                "How to start {sub}, step by step",
                "{sub}: a beginner tutorial",
                "Learn {sub} in three steps",
                "The easy way to do {sub}",
            ),
            (
                "Here is every step, written for beginners.",
                "Follow along once and you have got it.",
                "A tutorial from zero, no rush.",
            ),
            (
                "Step one is {a}, step two is {b}.",
                "The key step is {a}; after that {b} is easy.",
                "Practise {a} first, then add {b}.",
            ),
            ("Show me your result when you have tried it.", "Ask below if a step is unclear.", "Save it and practise."),
            ("tutorial", "howto", "stepbystep"),
        ),
    ),
    Intent(
        "review",
        Phrases(
            "测评",
            ("{sub}真实测评，优缺点都说", "用了一个月，聊聊{sub}", "{sub}避雷对比", "{sub}值不值？无广测评"),
            ("自费一个月，说说真实感受。", "横向对比了五款，结论放前面。", "无广，优点缺点都写。"),
            ("{a}给九分，{b}只能给六分。", "优点是{a}，缺点是{b}。", "对比下来{a}差别很大，{b}差不多。"),
            ("总分八分，会回购。", "结论：看需求，别盲目跟风。", "避雷的那款我就不点名了。"),
            ("测评", "真实评价", "避雷"),
        ),
        Phrases(
            "review",
            (
                "Honest review: {sub}",
                "{sub}, tested for a month",
                "Is {sub} worth it? Pros and cons",
                "{sub}: five options compared",
            ),
            (
                "Not sponsored, one month of daily testing.",
                "I compared five options, verdict first.",
                "Pros and cons, no marketing.",
            ),
            (
                "{a} gets nine out of ten, {b} only six.",
                "The pro is {a}, the con is {b}.",
                "Compared side by side, {a} differs a lot, {b} hardly.",
            ),
            (
                "Overall score eight, would repurchase.",
                "Verdict: it depends on what you need.",
                "One of them I would skip.",
            ),
            ("review", "honestopinion", "prosandcons"),
        ),
    ),
    Intent(
        "haul",
        Phrases(
            "好物",
            ("{sub}好物分享，最近爱不释手", "开箱！{sub}新入手合集", "挖到宝了，{sub}好物", "{sub}购物分享"),
            ("快递拆到手软，挑最喜欢的分享。", "最近入手的都在这里了。", "开箱的快乐谁懂。"),
            ("最惊喜的是{a}，{b}也很香。", "顺手买了{a}，没想到{b}更好用。", "为了{a}下单，{b}是赠品。"),
            ("链接问的人多我再整理。", "下一次开箱见。", "你们最近入手了什么？"),
            ("好物分享", "开箱", "购物分享"),
        ),
        Phrases(
            "finds",
            (
                "{sub} haul: everything I bought",
                "Unboxing my new {sub} finds",
                "My favourite {sub} finds lately",
                "New in: {sub}",
            ),
            (
                "So many parcels this week, here are the best.",
                "Everything I picked up lately is here.",
                "Unboxing never gets old.",
            ),
            (
                "The surprise was {a}, and {b} is lovely too.",
                "I grabbed {a} on the way and {b} turned out better.",
                "Ordered it for {a}; {b} came as a gift.",
            ),
            ("I will share links if you want them.", "See you at the next unboxing.", "What did you buy lately?"),
            ("haul", "unboxing", "newin"),
        ),
    ),
    Intent(
        "diary",
        Phrases(
            "日常",
            ("{sub}日记｜平凡的一天", "记录一下今天的{sub}", "我的{sub}日常碎片", "周末vlog：{sub}"),
            ("今天没有大事，随手记一笔。", "普通的一天，也想留住。", "醒来天气很好，心情也好。"),
            ("下午在{a}和{b}之间慢慢过去。", "忙完{a}，发了会儿呆，又想起{b}。", "朋友聊到{a}，我却记住了{b}。"),
            ("晚安，明天见。", "日子就这样慢慢过吧。", "谢谢今天的自己。"),
            ("日常", "生活碎片", "记录生活"),
        ),
        Phrases(
            "diary",
            ("A quiet day of {sub}", "{sub} diary, week 12", "Little moments: {sub}", "Today was all about {sub}"),
            (
                "Nothing big today, just writing it down.",
                "An ordinary day I want to keep.",
                "Woke up to good weather and a good mood.",
            ),
            (
                "The afternoon went by between {a} and {b}.",
                "After {a} I daydreamed and thought of {b}.",
                "A friend talked about {a}; I remember {b}.",
            ),
            ("Good evening, see you tomorrow.", "Days like this are enough.", "Grateful for today."),
            ("diary", "dailylife", "slowliving"),
        ),
    ),
    Intent(
        "budget",
        Phrases(
            "平价",
            (
                "百元搞定{sub}，学生党看过来",
                "{sub}省钱攻略，一分不多花",
                "平价{sub}，便宜又好用",
                "月薪五千怎么玩{sub}",
            ),
            ("预算有限也能过得好，账单公开。", "学生党亲测，便宜大碗。", "算了一笔账，省下一半。"),
            ("{a}只花了二十九，{b}用平替。", "省在{a}，钱花在{b}。", "{a}可以不买，{b}买打折的。"),
            ("总共不到一百，性价比很高。", "省下的钱去吃顿好的。", "还有更便宜的办法欢迎补充。"),
            ("平价", "省钱", "学生党"),
        ),
        Phrases(
            "budget",
            ("{sub} on a tight budget", "{sub} for under 20 dollars", "Cheap and good: {sub}", "Save money on {sub}"),
            (
                "A small budget is enough, receipts included.",
                "Student tested, cheap and cheerful.",
                "I did the maths and saved half.",
            ),
            ("{a} cost nine dollars, {b} is a dupe.", "Save on {a}, spend on {b}.", "Skip {a} and buy {b} on sale."),
            (
                "Under twenty in total, great value.",
                "Spend what you saved on dinner.",
                "Tell me if you know a cheaper way.",
            ),
            ("budget", "affordable", "moneysaving"),
        ),
    ),
    Intent(
        "guide",
        Phrases(
            "攻略",
            (
                "{sub}保姆级攻略，建议收藏",
                "{sub}清单合集，看这一篇就够",
                "一篇讲清{sub}的全部门道",
                "2025{sub}推荐榜单",
            ),
            ("整理了一周，全是干货。", "从入门到进阶，按顺序列好了。", "常见问题一次说完。"),
            ("清单一：{a}；清单二：{b}。", "关于{a}和{b}，我做了汇总。", "重点推荐{a}，进阶可以看{b}。"),
            ("建议收藏，出发前翻一翻。", "合集会持续更新。", "漏掉的欢迎补充到清单。"),
            ("攻略", "合集", "干货"),
        ),
        Phrases(
            "guide",
            (
                "The complete {sub} guide",
                "{sub}: the ultimate checklist",
                "Top 10 {sub} picks to bookmark",
                "Everything to know about {sub}",
            ),
            (
                "A week of research in one list.",
                "From entry level to advanced, in order.",
                "All common questions answered.",
            ),
            (
                "Checklist: {a} first, then {b}.",
                "I put {a} and {b} into one overview.",
                "Top pick {a}; advanced readers look at {b}.",
            ),
            ("Bookmark it before you go.", "I keep the list updated.", "Tell me what the list is missing."),
            ("guide", "checklist", "toplist"),
        ),
    ),
)
