"""The vocabulary of the world: its topics, what each is divided into, and the words notes about them use."""

from __future__ import annotations

from dataclasses import dataclass

ZH, EN = "zh", "en"
LANGUAGES = (ZH, EN)


@dataclass(frozen=True)
class Subtopic:
    """Part of a topic; per language a few ways to name it, the first is also the hashtag and the search term."""

    zh: tuple[str, ...]
    en: tuple[str, ...]

    def names(self, language: str) -> tuple[str, ...]:
        return self.zh if language == ZH else self.en


@dataclass(frozen=True)
class Topic:
    """What a note is about.

    Attributes:
        name: English name; the ``category`` of its items.
        zh_name: Chinese name, used as a hashtag.
        subtopics: its parts.
        zh: Chinese details a note may mention.
        en: English details a note may mention.
    """

    name: str
    zh_name: str
    subtopics: tuple[Subtopic, ...]
    zh: tuple[str, ...]
    en: tuple[str, ...]

    def label(self, language: str) -> str:
        return self.zh_name if language == ZH else self.name

    def details(self, language: str) -> tuple[str, ...]:
        return self.zh if language == ZH else self.en


TOPICS = (
    Topic(
        "food",
        "美食",
        (
            Subtopic(("家常菜", "下饭菜", "快手小炒"), ("home cooking", "weeknight stir-fry", "family dinner")),
            Subtopic(("烘焙", "戚风蛋糕", "手作面包"), ("baking", "sourdough bread", "chiffon cake")),
            Subtopic(("煲汤", "老火靓汤", "暖胃炖汤"), ("soup", "slow-cooked broth", "noodle soup")),
            Subtopic(("早餐", "元气早饭", "周末早午餐"), ("breakfast", "lazy brunch", "morning porridge")),
        ),
        ("砂锅", "蒜末", "火候", "面团发酵", "烤箱预热", "酱汁比例", "冰箱剩菜", "一人份"),
        (
            "garlic",
            "the oven",
            "leftover rice",
            "proofing time",
            "a cast-iron pan",
            "soy sauce",
            "knife work",
            "serving size",
        ),
    ),
    Topic(
        "travel",
        "旅行",
        (
            Subtopic(("海岛游", "海边度假", "看海"), ("island trip", "beach holiday", "seaside weekend")),
            Subtopic(("古镇", "老街漫步", "古城"), ("old town", "historic streets", "heritage walk")),
            Subtopic(("自驾", "公路旅行", "环线自驾"), ("road trip", "driving route", "camper van")),
            Subtopic(("城市漫游", "周末城市", "citywalk"), ("city break", "48 hours downtown", "urban walk")),
        ),
        ("民宿", "机票", "行程安排", "日出", "地铁站", "渡轮", "当地小吃", "行李清单"),
        (
            "the ferry",
            "a guesthouse",
            "train tickets",
            "the itinerary",
            "sunrise spot",
            "local snacks",
            "carry-on",
            "the harbour",
        ),
    ),
    Topic(
        "outfit",
        "穿搭",
        (
            Subtopic(("通勤穿搭", "上班穿什么", "职场搭配"), ("office outfit", "workwear", "commute look")),
            Subtopic(("约会穿搭", "连衣裙", "温柔穿搭"), ("date outfit", "summer dress", "soft layers")),
            Subtopic(("运动穿搭", "卫衣", "休闲穿搭"), ("athleisure", "hoodie look", "casual fit")),
            Subtopic(("秋冬外套", "大衣", "叠穿"), ("winter coat", "wool layering", "trench coat")),
        ),
        ("版型", "显高", "小个子", "腰线", "面料", "尺码", "衬衫", "阔腿裤"),
        (
            "the cut",
            "petite sizing",
            "wide-leg trousers",
            "a crisp shirt",
            "the fabric",
            "waistline",
            "tailoring",
            "a belt",
        ),
    ),
    Topic(
        "home",
        "家居",
        (
            Subtopic(("收纳", "断舍离", "衣柜整理"), ("storage", "decluttering", "closet organising")),
            Subtopic(("客厅改造", "软装", "客厅布置"), ("living room makeover", "sofa corner", "soft furnishing")),
            Subtopic(("卧室", "床品", "睡眠角落"), ("bedroom", "bedding", "cosy sleep corner")),
            Subtopic(("租房改造", "小户型", "出租屋"), ("rental makeover", "tiny apartment", "studio apartment")),
        ),
        ("动线", "落地灯", "抽屉", "窗帘", "地毯", "层架", "边几", "采光"),
        (
            "a floor lamp",
            "drawers",
            "linen curtains",
            "the rug",
            "open shelves",
            "a side table",
            "daylight",
            "the layout",
        ),
    ),
    Topic(
        "beauty",
        "美妆护肤",
        (
            Subtopic(("护肤", "敏感肌护理", "晨间护肤"), ("skincare", "sensitive skin routine", "serum")),
            Subtopic(("底妆", "服帖底妆", "日常妆"), ("base makeup", "everyday makeup", "concealer")),
            Subtopic(("唇妆", "唇釉", "润唇"), ("lipstick", "lip gloss", "lip care")),
            Subtopic(("护发", "发型", "卷发"), ("hair care", "hairstyle", "soft curls")),
        ),
        ("保湿", "防晒", "成分表", "毛孔", "卸妆", "屏障修护", "美妆蛋", "持妆"),
        (
            "moisturiser",
            "sunscreen",
            "the ingredient list",
            "pores",
            "cleansing balm",
            "a damp sponge",
            "barrier repair",
            "long wear",
        ),
    ),
    Topic(
        "fitness",
        "健身",
        (
            Subtopic(("瑜伽", "晨间瑜伽", "拉伸"), ("yoga", "morning stretch", "vinyasa flow")),
            Subtopic(("跑步", "夜跑", "半马训练"), ("running", "half marathon training", "5k plan")),
            Subtopic(("力量训练", "哑铃训练", "练背"), ("strength training", "dumbbell workout", "deadlift day")),
            Subtopic(("居家训练", "跳操", "核心训练"), ("home workout", "core circuit", "HIIT session")),
        ),
        ("组数", "心率", "热身", "膝盖", "呼吸", "瑜伽垫", "体脂", "休息日"),
        ("reps", "heart rate", "warm-up", "knee alignment", "breathing", "a yoga mat", "rest day", "mobility"),
    ),
    Topic(
        "pets",
        "宠物",
        (
            Subtopic(("养猫", "猫咪", "小猫"), ("cat", "kitten care", "cat parent")),
            Subtopic(("养狗", "狗狗", "遛狗"), ("dog", "puppy training", "dog walking")),
            Subtopic(("仓鼠", "小宠", "兔子"), ("hamster", "small pets", "rabbit")),
            Subtopic(("宠物用品", "猫粮狗粮", "宠物零食"), ("pet supplies", "pet food", "pet treats")),
        ),
        ("猫砂", "疫苗", "牵引绳", "掉毛", "定点上厕所", "换粮", "呼噜声", "玩具"),
        (
            "the litter box",
            "vaccines",
            "a leash",
            "shedding",
            "house training",
            "switching food",
            "purring",
            "chew toys",
        ),
    ),
    Topic(
        "books",
        "读书",
        (
            Subtopic(("小说", "推理小说", "长篇小说"), ("novel", "mystery novel", "literary fiction")),
            Subtopic(("读书笔记", "手账摘抄", "书摘"), ("reading notes", "annotation", "book journal")),
            Subtopic(("成长书单", "心理学书", "自我提升"), ("non-fiction", "psychology book", "self-growth reading")),
            Subtopic(("绘本", "亲子阅读", "童书"), ("picture book", "bedtime reading", "children's books")),
        ),
        ("章节", "结局", "作者", "书签", "图书馆", "电子书", "人物关系", "名句"),
        (
            "the ending",
            "chapters",
            "the author",
            "a bookmark",
            "the library",
            "an e-reader",
            "the narrator",
            "favourite quotes",
        ),
    ),
    Topic(
        "garden",
        "养花",
        (
            Subtopic(("绣球", "月季", "阳台种花"), ("hydrangea", "roses", "balcony flowers")),
            Subtopic(("多肉", "仙人掌", "懒人植物"), ("succulents", "cactus", "low-care plants")),
            Subtopic(("阳台种菜", "番茄苗", "香草盆栽"), ("vegetable patch", "tomato seedlings", "herb pots")),
            Subtopic(("插花", "鲜花", "花束"), ("flower arranging", "fresh bouquet", "cut flowers")),
        ),
        ("浇水", "光照", "花盆", "扦插", "缓苗", "通风", "修剪", "营养土"),
        ("watering", "sunlight", "pots", "cuttings", "repotting", "airflow", "pruning", "potting mix"),
    ),
    Topic(
        "coffee",
        "咖啡",
        (
            Subtopic(("手冲咖啡", "滤杯", "咖啡豆"), ("pour-over coffee", "filter brew", "coffee beans")),
            Subtopic(("拿铁", "拉花", "奶咖"), ("latte", "latte art", "milk coffee")),
            Subtopic(("探店咖啡馆", "街角咖啡馆", "咖啡店"), ("coffee shop", "corner café", "café hopping")),
            Subtopic(("冷萃", "冰美式", "气泡咖啡"), ("cold brew", "iced americano", "espresso tonic")),
        ),
        ("研磨度", "水温", "水量比例", "风味", "奶泡", "萃取", "滤纸", "磨豆机"),
        (
            "grind size",
            "water temperature",
            "the ratio",
            "tasting notes",
            "milk foam",
            "extraction",
            "paper filters",
            "a hand grinder",
        ),
    ),
    Topic(
        "hiking",
        "徒步露营",
        (
            Subtopic(("徒步", "爬山", "山野路线"), ("hiking", "day hike", "mountain trail")),
            Subtopic(("露营", "帐篷", "营地"), ("camping", "tent pitch", "campsite")),
            Subtopic(("溯溪", "溪谷", "瀑布"), ("river trekking", "canyon walk", "waterfall")),
            Subtopic(("登雪山", "高海拔", "看云海"), ("summit climb", "high altitude", "sea of clouds")),
        ),
        ("登山杖", "海拔", "补给", "冲锋衣", "轨迹", "防潮垫", "天气", "下撤"),
        (
            "trekking poles",
            "elevation",
            "water refill",
            "a rain shell",
            "the GPS track",
            "sleeping pad",
            "weather window",
            "the descent",
        ),
    ),
    Topic(
        "crafts",
        "手工",
        (
            Subtopic(("钩织", "毛线", "织围巾"), ("crochet", "yarn project", "knitted scarf")),
            Subtopic(("陶艺", "捏陶", "手作杯子"), ("pottery", "hand-built mug", "clay")),
            Subtopic(("刺绣", "手缝", "布艺"), ("embroidery", "hand sewing", "fabric project")),
            Subtopic(("木工", "手作木器", "模型"), ("woodworking", "carved spoon", "scale model")),
        ),
        ("针法", "线材", "釉料", "打磨", "图解", "配件", "绷架", "成品"),
        ("stitches", "the yarn weight", "glaze", "sanding", "the diagram", "spare parts", "a hoop", "finished piece"),
    ),
)

SUBTOPICS = tuple((topic, part) for topic, about in enumerate(TOPICS) for part in range(len(about.subtopics)))
"""All (topic, part) pairs; a *subtopic* number is a position in this tuple."""


def subtopic(number: int) -> Subtopic:
    topic, part = SUBTOPICS[number]
    return TOPICS[topic].subtopics[part]
