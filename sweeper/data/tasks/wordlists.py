"""The word lists from which `generate.py` draws the demo's items; written for this project."""

from __future__ import annotations

# Two words that are each other's opposite. Words of one line separated from the next
# by "/" mean nearly the same thing, so none of a line is a wrong answer for another.
OPPOSITES = """
hot cold / warm cool
big small / large little / huge tiny
good bad
happy sad
fast slow / quick slow
high low / tall short / top bottom / up down / above below
light dark / day night / bright dim
black white
young old / new old / modern ancient
rich poor
strong weak
hard soft / easy difficult
wet dry
full empty
open closed
true false / right wrong / correct incorrect
left right
early late / before after
near far / close distant
inside outside / in out / indoor outdoor / internal external / inner outer
love hate
war peace
life death / alive dead / birth death
win lose / victory defeat / success failure
buy sell
give take
push pull
start stop / begin end / first last / beginning end
come go / arrive leave / arrival departure / enter exit
north south
east west
male female / man woman / boy girl / father mother / brother sister / son daughter / king queen
husband wife / uncle aunt
friend enemy
clean dirty
safe dangerous
thick thin / fat thin
wide narrow
deep shallow
loud quiet / noise silence
smooth rough
sharp dull
sweet sour
heavy light
brave afraid
rude polite
lazy active
always never
everything nothing / all none
more less / most least
many few
increase decrease / rise fall / grow shrink / expand contract
ask answer / question answer
accept reject
agree disagree
allow forbid
attack defend
awake asleep
backward forward
beautiful ugly
borrow lend
build destroy / create destroy
cheap expensive
complex simple
connect separate / join separate
cry laugh
even odd
public private
hope despair
guilty innocent
healthy sick
heaven hell
hero villain
import export
include exclude
legal illegal
maximum minimum
major minor
majority minority
natural artificial
negative positive
optimist pessimist
past future
patient impatient
permanent temporary
plus minus
possible impossible
profit loss
raise lower
remember forget
summer winter
sunrise sunset
tight loose
visible invisible
vertical horizontal
wise foolish
work play
teacher student
buyer seller
question statement
"""

# Kinds of one paragraph are near each other: wrong choices are taken from it first.
CATEGORIES = """
bird: robin eagle sparrow owl parrot pigeon crow hawk swan penguin duck
fish: salmon tuna trout shark cod carp herring
insect: ant bee beetle butterfly mosquito wasp grasshopper moth
reptile: snake lizard crocodile turtle alligator
mammal: whale dog cat elephant horse bear monkey rabbit
dinosaur: stegosaurus triceratops velociraptor

fruit: apple banana pear peach mango cherry grape strawberry pineapple
vegetable: carrot potato onion cabbage cucumber radish turnip leek
tree: oak pine maple willow birch elm cedar
flower: rose tulip daisy lily orchid daffodil sunflower
spice: pepper cinnamon nutmeg ginger turmeric
cheese: cheddar brie mozzarella parmesan gouda
drink: beer wine coffee tea lemonade juice

tool: hammer screwdriver saw wrench drill chisel
weapon: sword rifle pistol spear dagger cannon
instrument: piano violin guitar flute trumpet drum cello harp
furniture: chair table sofa desk bookcase wardrobe
clothing: shirt jacket skirt sweater coat
fabric: cotton silk wool linen velvet denim
vehicle: car truck bus van motorcycle bicycle taxi
boat: canoe kayak yacht ferry raft

color: red blue green yellow purple orange pink brown
metal: iron copper silver aluminum zinc nickel
gas: oxygen hydrogen nitrogen helium methane
shape: circle triangle square rectangle hexagon oval
number: seven twelve nine eleven three forty
currency: dollar peso rupee yen

month: January March April June October December
day: Monday Tuesday Wednesday Thursday Friday Saturday
planet: Mars Venus Jupiter Saturn Neptune
continent: Africa Asia Europe Antarctica
country: France Japan Brazil Egypt Canada Sweden India
city: London Paris Tokyo Chicago Berlin Boston
language: Latin Hebrew Arabic Mandarin Swahili

sport: tennis football basketball hockey baseball golf rugby swimming
dance: waltz tango ballet salsa polka
profession: doctor lawyer plumber carpenter nurse dentist
emotion: anger joy fear sadness jealousy
disease: malaria measles cancer diabetes cholera tuberculosis
organ: heart liver kidney lung brain stomach
"""

# "Monday is a day", "Silver is a kind of metal", "A robin is a kind of bird".
PROPER = frozenset({"month", "day", "planet", "continent", "country", "city", "language"})
MASS = frozenset(
    {
        "drink",
        "color",
        "metal",
        "sport",
        "number",
        "disease",
        "gas",
        "emotion",
        "spice",
        "cheese",
        "fabric",
    }
)
# Pairs of categories that one word could belong to, or that say nearly the same.
OVERLAPS = """
country continent / city country / city continent / country city / vehicle boat / tool weapon
fruit color / spice vegetable / fruit vegetable / flower tree / flower color / fruit tree
reptile dinosaur / metal gas / fabric clothing / language country / drink fruit / spice color
sport dance / cheese drink / mammal fish / metal color / color drink / number day / number month
day month / tool instrument / spice drink / emotion disease / weapon instrument / vegetable drink
organ drink / insect bird / mammal dinosaur / fruit drink / flower spice / flower emotion
organ emotion / tree fruit / currency country / currency metal / planet metal / emotion color
gas drink / sport vehicle / fish mammal / planet continent / city language / sport drink
mammal insect / bird mammal / fabric color / tree spice / vegetable flower / gas metal
cheese fruit / planet country / planet city / instrument organ / language dance / language fruit
month dance / shape dance
"""

# Neighbours stand near each other: a wrong choice is taken from the same part of the world.
CAPITALS = """
England London / Ireland Dublin / Scotland Edinburgh / France Paris / Belgium Brussels
Portugal Lisbon / Spain Madrid / Italy Rome / Malta Valletta / Switzerland Bern / Germany Berlin
Austria Vienna / Poland Warsaw / Slovakia Bratislava / Hungary Budapest / Slovenia Ljubljana
Croatia Zagreb / Bosnia Sarajevo / Serbia Belgrade / Albania Tirana / Macedonia Skopje
Greece Athens / Cyprus Nicosia / Bulgaria Sofia / Romania Bucharest / Ukraine Kiev / Belarus Minsk
Russia Moscow / Lithuania Vilnius / Latvia Riga / Estonia Tallinn / Finland Helsinki
Sweden Stockholm / Norway Oslo / Denmark Copenhagen / Iceland Reykjavik
Canada Ottawa / Cuba Havana / Jamaica Kingston / Nicaragua Managua / Honduras Tegucigalpa
Venezuela Caracas / Colombia Bogota / Ecuador Quito / Peru Lima / Chile Santiago
Argentina Buenos_Aires / Uruguay Montevideo / Paraguay Asuncion
Morocco Rabat / Algeria Algiers / Tunisia Tunis / Libya Tripoli / Egypt Cairo / Sudan Khartoum
Ethiopia Addis_Ababa / Somalia Mogadishu / Kenya Nairobi / Uganda Kampala / Rwanda Kigali
Zambia Lusaka / Zimbabwe Harare / Mozambique Maputo / Madagascar Antananarivo / Botswana Gaborone
Namibia Windhoek / Angola Luanda / Cameroon Yaounde / Nigeria Abuja / Niger Niamey / Mali Bamako
Ghana Accra / Senegal Dakar
Turkey Ankara / Georgia Tbilisi / Armenia Yerevan / Azerbaijan Baku / Syria Damascus
Lebanon Beirut / Jordan Amman / Iraq Baghdad / Iran Tehran / Saudi_Arabia Riyadh / Yemen Sanaa
Oman Muscat / Qatar Doha / Bahrain Manama / Afghanistan Kabul / Pakistan Islamabad
Uzbekistan Tashkent / Kazakhstan Astana / Mongolia Ulaanbaatar / China Beijing
Nepal Kathmandu / India Delhi / Bangladesh Dhaka / Thailand Bangkok / Laos Vientiane
Vietnam Hanoi / Cambodia Phnom_Penh / Malaysia Kuala_Lumpur / Indonesia Jakarta
Philippines Manila / Taiwan Taipei / Japan Tokyo / South_Korea Seoul / North_Korea Pyongyang
Australia Canberra / New_Zealand Wellington / Fiji Suva
"""

# Singular, plural, and what may follow the noun.
HEADS = """
key keys / book books / picture pictures / letter letters / house houses / road roads
student students / teacher teachers / player players / child children / farmer farmers
window windows / door doors / report reports / story stories / song songs / wheel wheels
box boxes / bottle bottles / painting paintings / machine machines / animal animals
tree trees / visitor visitors / soldier soldiers / car cars / boat boats / lawyer lawyers
"""
# People, so that they can do what `ACTIONS` says.
PEOPLE = """
student students / teacher teachers / player players / farmer farmers / soldier soldiers
lawyer lawyers / doctor doctors / visitor visitors / driver drivers / neighbor neighbors
girl girls / boy boys / nurse nurses / singer singers / worker workers / officer officers
"""
PREPOSITIONS = ("near", "behind", "beside", "next to", "across from")
PLACES = """
garden gardens / school schools / river rivers / bridge bridges / church churches
station stations / mountain mountains / office offices / hotel hotels / tower towers
factory factories / shop shops / lake lakes / museum museums / wall walls
"""
ACTIONS = """
sees see / likes like / wants want / remembers remember / describes describe / notices notice
"""
VERBS = (("is", "are"), ("was", "were"), ("has", "have"))
