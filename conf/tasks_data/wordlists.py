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

CATEGORIES = """
bird: robin eagle sparrow owl parrot pigeon crow hawk swan penguin duck
fish: salmon tuna trout shark cod carp herring
insect: ant bee beetle butterfly mosquito wasp grasshopper moth
fruit: apple banana pear peach mango cherry grape strawberry pineapple
vegetable: carrot potato onion cabbage cucumber radish turnip leek
tree: oak pine maple willow birch elm cedar
flower: rose tulip daisy lily orchid daffodil sunflower
tool: hammer screwdriver saw wrench drill chisel
weapon: sword rifle pistol spear dagger cannon
instrument: piano violin guitar flute trumpet drum cello harp
vehicle: car truck bus van motorcycle bicycle taxi
boat: canoe kayak yacht ferry raft
drink: beer wine coffee tea lemonade juice
color: red blue green yellow purple orange pink brown
metal: iron copper silver aluminum zinc nickel
sport: tennis football basketball hockey baseball golf rugby swimming
shape: circle triangle square rectangle hexagon oval
number: seven twelve nine eleven three forty
month: January March April June October December
day: Monday Tuesday Wednesday Thursday Friday Saturday
planet: Mars Venus Jupiter Saturn Neptune
continent: Africa Asia Europe Antarctica
country: France Japan Brazil Egypt Canada Sweden India
city: London Paris Tokyo Chicago Berlin Boston
language: Latin Hebrew Arabic Mandarin Swahili
currency: dollar peso rupee yen
disease: malaria measles cancer diabetes cholera tuberculosis
dance: waltz tango ballet salsa polka
reptile: snake lizard crocodile turtle alligator
mammal: whale dog cat elephant horse bear monkey rabbit
furniture: chair table sofa desk bookcase wardrobe
clothing: shirt jacket skirt sweater coat
gas: oxygen hydrogen nitrogen helium methane
emotion: anger joy fear sadness jealousy
profession: doctor lawyer plumber carpenter nurse dentist
organ: heart liver kidney lung brain stomach
spice: pepper cinnamon nutmeg ginger turmeric
cheese: cheddar brie mozzarella parmesan gouda
fabric: cotton silk wool linen velvet denim
dinosaur: stegosaurus triceratops velociraptor
"""

# "Monday is a day", "Silver is a kind of metal", "A robin is a kind of bird".
PROPER = frozenset({"month", "day", "planet", "continent", "country", "city", "language"})
MASS = frozenset({"drink", "color", "metal", "sport", "number", "disease", "gas", "emotion",
                  "spice", "cheese", "fabric"})  # fmt: skip
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

CAPITALS = """
France Paris / Germany Berlin / Italy Rome / Spain Madrid / Portugal Lisbon / Greece Athens
England London / Ireland Dublin / Scotland Edinburgh / Austria Vienna / Hungary Budapest
Poland Warsaw / Russia Moscow / Ukraine Kiev / Sweden Stockholm / Norway Oslo / Denmark Copenhagen
Finland Helsinki / Iceland Reykjavik / Belgium Brussels / Switzerland Bern / Turkey Ankara
Romania Bucharest / Bulgaria Sofia / Serbia Belgrade / Croatia Zagreb / Japan Tokyo / China Beijing
India Delhi / Pakistan Islamabad / Afghanistan Kabul / Iran Tehran / Iraq Baghdad / Syria Damascus
Lebanon Beirut / Jordan Amman / Egypt Cairo / Libya Tripoli / Tunisia Tunis / Morocco Rabat
Kenya Nairobi / Ethiopia Addis_Ababa / Ghana Accra / Senegal Dakar / Cuba Havana
Canada Ottawa / Argentina Buenos_Aires / Chile Santiago / Peru Lima / Colombia Bogota
Venezuela Caracas / Ecuador Quito / Uruguay Montevideo / Thailand Bangkok / Vietnam Hanoi
Cambodia Phnom_Penh / Indonesia Jakarta / Malaysia Kuala_Lumpur / Philippines Manila
Australia Canberra / Nepal Kathmandu / Bangladesh Dhaka / Armenia Yerevan / Georgia Tbilisi
"""

# Singular, plural, and what may follow the noun.
HEADS = """
key keys / book books / picture pictures / letter letters / house houses / road roads
student students / teacher teachers / player players / child children / farmer farmers
window windows / door doors / report reports / story stories / song songs / wheel wheels
box boxes / bottle bottles / painting paintings / machine machines / animal animals
tree trees / visitor visitors / soldier soldiers / car cars / boat boats / lawyer lawyers
"""
PREPOSITIONS = ("near", "behind", "beside", "next to", "in front of", "across from")
ATTRACTORS = """
cabinet cabinets / garden gardens / school schools / river rivers / bridge bridges
church churches / station stations / mountain mountains / office offices / hotel hotels
tower towers / factory factories / shop shops / lake lakes / museum museums / wall walls
"""
VERBS = (("is", "are"), ("was", "were"), ("has", "have"))

NAMES = ("Anna", "Tom", "Mary", "John", "Sam", "Lucy", "Peter", "Emma", "David", "Sarah",
         "James", "Alice", "Mark", "Jane", "Paul", "Kate")  # fmt: skip
OBJECTS = ("ball", "book", "cup", "key", "hat", "dog", "car", "bag", "pen", "box", "cat",
           "phone", "knife", "lamp", "ring", "coat", "bike", "map", "drum", "flag")  # fmt: skip
