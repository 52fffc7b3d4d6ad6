"""CPU seconds of each view of the side-by-side page: python benchmarks/view_speed.py [GENERATOR ...]

loans with three generators is run first. Then each view is chosen twice, by the page's own control:
the first time something may still be imported.
"""

import asyncio
import sys
import tempfile
import time

from workbench.app.page import SideBySide
from workbench.app.session import Session

GENERATORS = ("independent", "gaussian-copula", "cart")


async def main(generators: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        session = Session("loans", generators, root=folder)
        page = SideBySide(session)
        page.run.click()
        while session.busy:
            await asyncio.sleep(0.2)
        print(f"{'view':20}{'first':>8}{'again':>8}")
        views = list(page.view.options)
        # Choosing the view that is shown already would draw nothing.
        page.view.value = views[-1]
        seconds = [{view: seconds_to_show(page, view) for view in views} for _ in range(2)]
        for view in views:
            print(f"{view:20}" + "".join(f"{turn[view]:8.2f}" for turn in seconds))


def seconds_to_show(page: SideBySide, view: str) -> float:
    began = time.process_time()
    page.view.value = view
    return time.process_time() - began


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(GENERATORS)))
