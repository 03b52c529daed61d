"""The report in a real browser: no complaint, nothing that axe-core finds, by keys and in print, the figures of the database, and the
looks that are kept in tests/system/browser.  HUNNYPOT_LOOKS=new makes those anew, and doc/report.png: look at them then."""
import base64
import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from testbed.base import STATE, TOP
from testbed.milter import hunnypot

sys.path.insert(0, str(TOP / "tests/simulation"))
import database  # noqa: E402

AXE = TOP / "build/npm/node_modules/axe-core/axe.min.js"
LOOKS = TOP / "tests/system/browser"
NEW = os.environ.get("HUNNYPOT_LOOKS") == "new"
NOW = 1795000000  # the clock of the database, which stands still
SCHEMES = ("light", "dark")
SIZES = {"phone": 390, "tablet": 820, "laptop": 1280, "wide": 1920}
SMALL = 240       # so wide are the looks that are kept
TOLERANCE = 2.5   # of 255, on average: what letters of another version look like; another colour or place of one section is more
# One family of letters, whatever else is installed.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<dir>/usr/share/fonts/truetype/dejavu</dir><cachedir>{cache}</cachedir>
<match target="pattern"><edit name="family" mode="assign" binding="strong"><string>DejaVu Sans</string></edit></match></fontconfig>"""


@pytest.fixture(scope="module")
def pg(net):
    server = database.Database(NOW)
    server.make_database(database.initialise)
    server.query((TOP / "tests/system/report_data.sql").read_text())
    yield server
    server.remove()


@pytest.fixture(scope="module")
def page(pg):
    file = STATE / "report.html"
    file.write_text(hunnypot("report", user="reader").stdout)
    return file.as_uri()


@pytest.fixture(scope="module")
def browser(net):
    folder = STATE / "browser"
    folder.mkdir()
    (folder / "fonts.conf").write_text(FONTS.format(cache=folder / "fonts"))
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars", "force-color-profile=srgb",
                 "font-render-hinting=none", "disable-lcd-text", "no-first-run", "disable-background-networking", f"user-data-dir={folder}/profile"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service("/usr/bin/chromedriver", env={**os.environ, "HOME": str(folder), "FONTCONFIG_FILE": str(folder / "fonts.conf")})
    driver = webdriver.Chrome(service=service, options=options)
    yield driver
    driver.quit()


def show(browser, page, width=1280, scheme="light", media="screen"):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(page)


def picture(browser, width):
    height = browser.execute_script("return document.documentElement.scrollHeight")
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True,
                                                              "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def tables(browser):
    return browser.execute_script("""return Object.fromEntries([...document.querySelectorAll('section')].map(s => [s.querySelector('h2').textContent,
        [...s.querySelectorAll('tbody tr')].map(r => [...r.children].map(c => c.textContent))]))""")


def test_figures_are_the_databases_and_nothing_complains(pg, page, browser):
    browser.get_log("browser")  # of the empty page that it began with
    show(browser, page)
    assert browser.title == "What the trap caught" and [line for line in browser.get_log("browser") if "chrome://" not in line["message"]] == []
    found = tables(browser)
    came = pg.query("""SELECT sum(number)::int FROM hunnypot.hourly WHERE what NOT IN ('listed', 'left')
        AND hour >= date_trunc('day', now() - interval '30 days', 'UTC')""")[0][0] + pg.query("SELECT count(*) FROM hunnypot.waiting")[0][0]
    assert sum(int(cell) for row in found["Hits"] for cell in row[1:]) == came == int(found["Overview"][0][3])
    assert sum(int(row[1]) for row in found["What they came to"]) == came
    assert sum(int(cell) for row in found["Hour of the week"] for cell in row[1:]) == came
    assert {row[0]: int(row[1]) for row in found["Domains"]} == dict(pg.query("""SELECT name, sum(hits)::int FROM hunnypot.busiest
        WHERE what = 'domain' AND day >= (now() - interval '30 days')::date GROUP BY 1"""))
    drawn = browser.execute_script("""return [...document.querySelectorAll('section')].map(s => [s.querySelector('h2').textContent,
        [...s.querySelectorAll('rect > title')].map(t => parseInt(t.textContent.split(': ').pop()))])""")
    assert sum(dict(map(tuple, drawn))["Hits"]) == came, "what the shapes say"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(page, browser, scheme):
    for width in (SIZES["phone"], SIZES["laptop"]):
        show(browser, page, width, scheme)
        browser.execute_script(AXE.read_text())
        browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
        found = browser.execute_async_script("const done = arguments[0]; axe.run().then(r => done(r.violations), e => done([String(e)]))")
        assert found == [], json.dumps([(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found], indent=1)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, "nothing to push aside but what says so"


def test_numbers_open_by_keys(page, browser):
    show(browser, page)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.tag_name == "summary"
    first.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.querySelector('details').open")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("class") == "rows", "what scrolls is reached"


def test_print_has_the_numbers(page, browser):
    show(browser, page, media="print")
    assert browser.execute_script("return [...document.querySelectorAll('table')].every(t => t.offsetHeight > 0)")
    assert browser.execute_script("return getComputedStyle(document.querySelector('.rows')).maxHeight") == "none"


def look(image):
    """Small, as it is kept."""
    return image.resize((SMALL, round(image.height * SMALL / image.width)), Image.Resampling.BOX)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_looks(page, browser, size, scheme, tmp_path):
    show(browser, page, SIZES[size], scheme)
    whole = picture(browser, SIZES[size])
    new, kept = look(whole), LOOKS / f"{size}-{scheme}.png"
    if NEW:
        LOOKS.mkdir(exist_ok=True)
        new.quantize(96).save(kept, optimize=True)
        if (size, scheme) == ("laptop", "light"):
            whole.crop((0, 0, 1280, 1850)).resize((800, 1156), Image.Resampling.LANCZOS).quantize(64).save(TOP / "doc/report.png", optimize=True)
    old = Image.open(kept).convert("RGB")
    whole.save(STATE / f"{size}-{scheme}.png")
    assert abs(old.height - new.height) <= 0.02 * old.height, f"{new.height} and not {old.height} high"
    same = Image.new("RGB", old.size, new.getpixel((0, 0)))
    same.paste(new)
    # By parts, so that a section which looks otherwise is not lost in a long page.
    for top in range(0, old.height, 100):
        part = (0, top, SMALL, min(top + 100, old.height))
        off = max(ImageStat.Stat(ImageChops.difference(old.crop(part), same.crop(part))).mean)
        assert off < TOLERANCE * 2, f"{off:.1f} at {top} of {kept.name}: see {STATE}/{size}-{scheme}.png, and HUNNYPOT_LOOKS=new"
